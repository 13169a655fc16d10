"""The pictures of many patches as one file, and where in it each lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .pictures import encode_patch


@dataclass(frozen=True, slots=True)
class PictureFile:
    """The pictures of n patches, each one's composite and channels together.

    Attributes:
        data: The pictures, one after the other.
        composites: (2, n) int64, offset and length of each composite, bytes.
        channels: (2, n, m) int64, offset and length of each marker's picture, bytes; 0 where it was not measured.
    """

    data: bytes
    composites: NDArray[np.int64]
    channels: NDArray[np.int64]


def encode_patches(
    mif: Iterable[NDArray[np.uint8]],
    measured: NDArray[np.bool_],
    *,
    colours: Mapping[int, str],
    ranges: NDArray[np.float32],
    offset: int = 0,
) -> PictureFile:
    """Encode patch by patch.

    Args:
        mif: n patches, each (m, h, w) uint8 raw intensities; gone through once.
        measured: (n, m), where a patch's panel measured a marker.
        colours: Marker, by number → '#rrggbb' in the composite.
        ranges: (m, 2) intensities shown as black and at full brightness.
        offset: Bytes that come before in the file.
    """
    composites, channels = np.zeros((2, len(measured)), np.int64), np.zeros((2, *measured.shape), np.int64)
    data = bytearray()
    for row, (patch, known) in enumerate(zip(mif, measured, strict=True)):
        encoded = encode_patch(patch, known, colours=colours, ranges=ranges)
        composites[:, row] = offset + len(data), len(encoded.composite)
        data += encoded.composite
        for marker in np.flatnonzero(known):
            channels[:, row, marker] = offset + len(data), len(encoded.channels[marker])
            data += encoded.channels[marker]
    return PictureFile(bytes(data), composites, channels)


def ranges_by_name(markers: tuple[str, ...], ranges: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """Marker → intensities shown as black and at full brightness, of (m, 2)."""
    return {marker: (float(ends[0]), float(ends[1])) for marker, ends in zip(markers, ranges, strict=True)}
