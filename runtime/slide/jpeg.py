"""One JPEG tile of a slide file, decoded exactly as libjpeg-turbo's reference settings do.

A tile's bytes do not say reliably how their colour is coded: some lack the marker, some carry a wrong one. The
container (TIFF photometric, DICOM) or a measurement decides, and the decision is forced by an Adobe APP14 marker of our
own, after the tile's own APP0 and APP14 have been dropped, because libjpeg prefers a JFIF marker to an Adobe one.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from .types import UnreadableTileError

_SOI = b"\xff\xd8"
_APP0, _APP14, _SOS = 0xE0, 0xEE, 0xDA
_FRAME_HEADERS = frozenset((0xC0, 0xC1, 0xC2))
"""SOF markers of the Huffman-coded lossy processes: baseline, extended sequential, progressive."""


class Colour(Enum):
    """How a JPEG's three components are coded; the value is Adobe's transform code."""

    RGB = 0
    YCBCR = 1


def prefix(tables: bytes, colour: Colour) -> bytes:
    """What stands before a tile's own segments: start of image, the forced colour and the tables shared by all tiles.

    Args:
        tables: An abbreviated JPEG stream of tables (TIFF tag JPEGTables), or empty.
        colour: How the tiles are coded.

    Raises:
        UnreadableTileError: The tables are not a JPEG stream.
    """
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes((colour.value,))
    return _SOI + adobe + _table_segments(tables)


def decode_tile(
    data: bytes, before: bytes, width: int, height: int, *, least: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Decode one tile with the exact inverse DCT and exact chroma upsampling; any irregularity is an error.

    Args:
        data: The tile's own JPEG stream.
        before: What `prefix` gave.
        width: Pixels across that the container promises.
        height: Pixels down.
        least: (across, down) that will do, where writers leave out what lies beyond the edge; None asks for all.

    Returns:
        (height, width, 3) uint8 RGB; with `least` perhaps smaller, as the stream has it.

    Raises:
        UnreadableTileError: The stream is damaged, or of another size than promised (checked before anything is
            allocated, so that a forged header can't ask for gigabytes).
    """
    try:
        pieces, size = _pieces(data)
    except IndexError:
        raise UnreadableTileError("the JPEG data end within their header") from None
    _check_size(size, (width, height), least or (width, height))
    try:
        tile: NDArray[np.uint8] = simplejpeg.decode_jpeg(b"".join((before, *pieces)), "RGB", strict=True)
    except ValueError as error:
        raise UnreadableTileError(f"the JPEG data are damaged ({error})") from error
    if tile.shape != (size[1], size[0], 3):
        raise UnreadableTileError("the JPEG data are of another size than their header says")
    return tile


def _pieces(data: bytes) -> tuple[list[bytes], tuple[int, int]]:
    """The stream after its start-of-image marker, without APP0 and APP14; and the width and height it states."""
    if data[:2] != _SOI:
        raise UnreadableTileError("the tile does not hold JPEG data")
    pieces: list[bytes] = []
    kept = position = 2
    size = (0, 0)
    while True:
        marker = _marker(data, position)
        if marker == _SOS:
            break
        end = position + 2 + (data[position + 2] << 8 | data[position + 3])
        if marker in (_APP0, _APP14):
            pieces.append(data[kept:position])
            kept = end
        elif marker in _FRAME_HEADERS:
            size = _frame_size(data[position + 4 : position + 10])
        position = end
    pieces.append(data[kept:])
    return pieces, size


def _marker(data: bytes, position: int) -> int:
    if data[position] != 0xFF:
        raise UnreadableTileError("the JPEG header is damaged")
    return data[position + 1]


def _frame_size(header: bytes) -> tuple[int, int]:
    """Width and height from a frame header (precision, height, width, component count) of 8-bit colour."""
    if (header[0], header[5]) != (8, 3):
        raise UnreadableTileError(f"the JPEG data hold {header[5]} × {header[0]} bits a pixel, not 3 × 8")
    return header[3] << 8 | header[4], header[1] << 8 | header[2]


def _check_size(size: tuple[int, int], promised: tuple[int, int], least: tuple[int, int]) -> None:
    if not all(low <= side <= high for low, side, high in zip(least, size, promised, strict=True)):
        raise UnreadableTileError(
            f"the JPEG data hold {size[0]} × {size[1]} pixels, where the file promises {promised[0]} × {promised[1]}"
        )


def _table_segments(tables: bytes) -> bytes:
    """The segments of an abbreviated stream, without SOI, EOI, APP0 and APP14."""
    if not tables:
        return b""
    if tables[:2] != _SOI or tables[-2:] != b"\xff\xd9":
        raise UnreadableTileError("the JPEG tables are damaged")
    segments, position = [], 2
    while position < len(tables) - 2:
        if position + 4 > len(tables):
            raise UnreadableTileError("the JPEG tables are damaged")
        marker = _marker(tables, position)
        end = position + 2 + (tables[position + 2] << 8 | tables[position + 3])
        if marker not in (_APP0, _APP14):
            segments.append(tables[position:end])
        position = end
    return b"".join(segments)
