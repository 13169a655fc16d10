"""Where the frames of a DICOM instance lie in its file, checked against the file's end."""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ..errors import CorruptSlideError, IncompleteSlideError
from .instances import Instance
from .types import UnreadableTileError

_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0"
_ENCAPSULATED = 0xFFFFFFFF
"""The undefined length by which an element says that its pixels are a sequence of compressed fragments."""

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
"""The codings that do not compress frames; newer compressions may be unknown to pydicom."""

_JPEG_START = b"\xff\xd8"


def frame_extents(file: int, instance: Instance) -> NDArray[np.int64]:
    """Where each frame begins and ends.

    Offset tables (basic, or extended) are used where they fit the frames; else the fragments are walked, which costs
    one small read each.

    Args:
        file: Descriptor of the instance's file.
        instance: Its header.

    Returns:
        (frames, 2) int64: first byte of the frame's first fragment header, and the first byte after its last fragment.
        Empty where the pixels are not compressed; then only their length is checked.

    Raises:
        CorruptSlideError: The file ends before its pixels do, or its fragments make no sense.
        IncompleteSlideError: There are fewer frames than the header says.
    """
    size = os.fstat(file).st_size
    start, length = _element(file, instance)
    if instance.transfer_syntax in _NATIVE:
        _check_native(instance, start, length, size)
        return np.empty((0, 2), np.int64)
    if length != _ENCAPSULATED:
        raise _damaged(instance)
    table_start, table_length = _fragment(file, instance, start, size)
    first = table_start + table_length
    starts = _table(file, instance, table_start, table_length) + first
    if starts.size == instance.frames and bool((np.diff(starts) > 0).all()) and int(starts[-1]) < size:
        end = _walk(file, instance, int(starts[-1]), size)[-1][1]
        return np.stack([starts, np.append(starts[1:], end)], axis=1)
    return _by_fragments(file, instance, _walk(file, instance, first, size))


def frame_bytes(file: int, start: int, end: int) -> bytes:
    """The compressed bytes of one frame, its fragments joined.

    Raises:
        UnreadableTileError: The fragments are damaged, or the file can't be read.
    """
    try:
        data = os.pread(file, end - start, start)
    except OSError as error:
        raise UnreadableTileError(f"the file can't be read ({error.strerror})") from error
    pieces, position = [], 0
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        if data[position : position + 4] != _ITEM or position + 8 + length > len(data):
            raise UnreadableTileError("the frame's fragments are damaged")
        pieces.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    if not pieces:
        raise UnreadableTileError("the frame is empty")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _element(file: int, instance: Instance) -> tuple[int, int]:
    """First byte of the pixel data element's value, and its stated length."""
    header = os.pread(file, 12, instance.pixels)
    if len(header) < 12 or header[:4] != _PIXEL_DATA:
        raise _cut_short(instance)
    if instance.transfer_syntax == ImplicitVRLittleEndian:
        return instance.pixels + 8, struct.unpack_from("<I", header, 4)[0]
    return instance.pixels + 12, struct.unpack_from("<I", header, 8)[0]


def _check_native(instance: Instance, start: int, length: int, size: int) -> None:
    needed = instance.frames * instance.tile_width * instance.tile_height * instance.samples * instance.bits // 8
    if start + length > size:
        raise _cut_short(instance)
    if length < needed:
        raise _fewer(instance)


def _fragment(file: int, instance: Instance, position: int, size: int) -> tuple[int, int]:
    """First byte and length of the fragment whose header is at `position`; length −1 at the end of the sequence."""
    header = os.pread(file, 8, position)
    if len(header) < 8:
        raise _cut_short(instance)
    (length,) = struct.unpack_from("<I", header, 4)
    if header[:4] == _DELIMITER:
        return position + 8, -1
    if header[:4] != _ITEM:
        raise _damaged(instance)
    if position + 8 + length > size:
        raise _cut_short(instance)
    return position + 8, length


def _walk(file: int, instance: Instance, position: int, size: int) -> list[tuple[int, int]]:
    """Header position and end of every fragment from `position` on."""
    found: list[tuple[int, int]] = []
    while True:
        start, length = _fragment(file, instance, position, size)
        if length < 0:
            break
        found.append((position, start + length))
        position = start + length
    if not found:
        raise _fewer(instance)
    return found


def _table(file: int, instance: Instance, start: int, length: int) -> NDArray[np.int64]:
    """Offsets of the frames from the first: of the extended table where there is one, else of the basic one."""
    if instance.offsets:
        return np.frombuffer(instance.offsets, "<u8", len(instance.offsets) // 8).astype(np.int64)
    return np.frombuffer(os.pread(file, length, start), "<u4", length // 4).astype(np.int64)


def _by_fragments(file: int, instance: Instance, fragments: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Frames without a table: one fragment each, or several of which the first begins as JPEG does."""
    if len(fragments) > instance.frames:
        begins = [index for index, (start, _) in enumerate(fragments) if os.pread(file, 2, start + 8) == _JPEG_START]
        if len(begins) == instance.frames and begins[0] == 0:
            lasts = [*(index - 1 for index in begins[1:]), len(fragments) - 1]
            fragments = [(fragments[a][0], fragments[b][1]) for a, b in zip(begins, lasts, strict=True)]
    if len(fragments) < instance.frames:
        raise _fewer(instance)
    if len(fragments) > instance.frames:
        raise _damaged(instance)
    return np.asarray(fragments, np.int64)


def _cut_short(instance: Instance) -> CorruptSlideError:
    return CorruptSlideError(f"{instance.name} is cut short: its pixels run beyond its end. Copy the slide again.")


def _damaged(instance: Instance) -> CorruptSlideError:
    return CorruptSlideError(f"The pixel data of {instance.name} are damaged. Export or copy the slide again.")


def _fewer(instance: Instance) -> IncompleteSlideError:
    return IncompleteSlideError(
        f"{instance.name} holds fewer tiles than the {instance.frames} that its header states. Export the slide again."
    )
