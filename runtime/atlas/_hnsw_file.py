"""Check the bytes of an hnswlib index before hnswlib sees them.

hnswlib loads a damaged graph without complaint and then follows its links out of bounds. So the layout that hnswlib 0.8
writes (`HierarchicalNSW::saveIndex`) is read here, and every number that would become an address is checked:

    header   offset of level 0, max_elements, element count, bytes an element, label offset, data offset (u64);
             highest level (i32), entry point (u32); maxM, maxM0, M (u64); mult (f64); ef_construction (u64)
    level 0  per element: u16 link count, u16 flags, maxM0 links (u32), vector (d f32), label (u64)
    above    per element: bytes (u32), then per level from 1: u16 link count, u16 unused, maxM links (u32)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleContentError

_HEADER = struct.Struct("<6QiI3QdQ")


@dataclass(frozen=True, slots=True)
class HnswShape:
    """How a graph was built, as the manifest states it."""

    count: int
    dimension: int
    m: int
    ef_construction: int


def check_hnsw_file(data: bytes, shape: HnswShape, vectors: NDArray[np.float32]) -> None:
    """Refuse an index that isn't the stated one, isn't of `vectors`, or whose links lead outside it.

    Args:
        data: The file's bytes.
        shape: What the manifest says.
        vectors: (count, dimension) float32, the rows that the index has to hold, in order.

    Raises:
        BundleContentError: Any of this.
    """
    if len(data) < _HEADER.size:
        raise _refused("it is too short")
    entry, top = _check_header(data, shape)
    _check_ground(data, shape, vectors)
    levels, blocks = _read_upper(data, shape)
    if levels[entry] != top or top != int(levels.max()):
        raise _refused("its entry point is not on its highest level")
    _check_upper(data, shape, levels, blocks)


def _check_header(data: bytes, shape: HnswShape) -> tuple[int, int]:
    """Compare the header with the stated shape; gives entry point and highest level."""
    links = 8 * shape.m + 4
    vector = 4 * shape.dimension
    expected = (0, shape.count, shape.count, links + vector + 8, links + vector, links)
    values = _HEADER.unpack_from(data)
    if values[:6] != expected or values[8:11] != (shape.m, 2 * shape.m, shape.m) or values[12] != shape.ef_construction:
        raise _refused("its count, dimension, M or ef_construction are not the manifest's")
    top, entry = values[6], values[7]
    if not 0 <= top < 64 or entry >= shape.count:
        raise _refused("its entry point lies outside")
    return entry, top


def _ground_words(shape: HnswShape) -> int:
    return 2 * shape.m + 1 + shape.dimension + 2


def _check_ground(data: bytes, shape: HnswShape, vectors: NDArray[np.float32]) -> None:
    words = _ground_words(shape)
    if len(data) < _HEADER.size + 4 * words * shape.count:
        raise _refused("it is too short")
    ground = np.frombuffer(data, "<u4", words * shape.count, _HEADER.size).reshape(shape.count, words)
    width = 2 * shape.m
    _check_links(ground[:, : 1 + width], width, shape.count)
    held = ground[:, 1 + width : 1 + width + shape.dimension]
    if not np.array_equal(held, np.ascontiguousarray(vectors, "<f4").view("<u4")):
        raise _refused("it was not built from the atlas's vectors")
    if not np.array_equal(ground[:, -2], np.arange(shape.count)) or ground[:, -1].any():
        raise _refused("its labels are not the rows of the atlas")


def _read_upper(data: bytes, shape: HnswShape) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Each element's highest level, and (element, byte offset) of those above level 0."""
    levels = np.zeros(shape.count, np.int64)
    blocks = []
    one_level = 4 * shape.m + 4
    at = _HEADER.size + 4 * _ground_words(shape) * shape.count
    for element in range(shape.count):
        if at + 4 > len(data):
            raise _refused("it is too short")
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if size:
            if size % one_level or at + size > len(data):
                raise _refused("a list of links has an impossible length")
            levels[element] = size // one_level
            blocks.append((element, at))
            at += size
    if at != len(data):
        raise _refused("something follows its end")
    return levels, blocks


def _check_upper(data: bytes, shape: HnswShape, levels: NDArray[np.int64], blocks: list[tuple[int, int]]) -> None:
    for element, at in blocks:
        height = int(levels[element])
        lists = np.frombuffer(data, "<u4", height * (shape.m + 1), at).reshape(height, shape.m + 1)
        _check_links(lists, shape.m, shape.count)
        used = np.arange(shape.m) < lists[:, :1]
        reached = levels[np.where(used, lists[:, 1:], element)]
        if (reached < np.arange(1, height + 1)[:, None]).any():
            raise _refused("a link leads to a level that its target does not have")


def _check_links(lists: NDArray[np.uint32], width: int, count: int) -> None:
    """Rows of (count of links, links): the flags beside the count have to be 0, so nothing is marked deleted."""
    if (lists[:, 0] > width).any():
        raise _refused("a list of links is longer than M allows, or a patch is marked deleted")
    used = np.arange(width) < lists[:, :1]
    if (used & (lists[:, 1:] >= count)).any():
        raise _refused("a link leads outside")


def _refused(why: str) -> BundleContentError:
    return BundleContentError(f"The atlas's index can't be used: {why}. Export the bundle again.")
