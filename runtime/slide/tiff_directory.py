"""The image directories of a TIFF file, and whether the file is long enough for what they name."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..errors import CorruptSlideError
from .jpeg import Colour
from .names import shown

_JPEG = 7
_CONTIGUOUS = 1
_COLOURS = {2: Colour.RGB, 6: Colour.YCBCR}
"""Of TIFF's photometric interpretations."""

_MAX_DIRECTORIES = 10_000
"""More than any slide has (focal planes times levels); ends a chain that loops."""

_MAX_ENTRIES = 65_535
"""Tags of one directory that classic TIFF can count."""

_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Of TIFF's field types."""

# tifffile logs what it finds odd; the errors raised here say it once, and better.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind of TIFF writes its directories: struct codes of counts and offsets; where the first offset is."""

    count: str
    offset: str
    first: int


_CLASSIC = _Form("H", "I", 4)
_BIG = _Form("Q", "Q", 8)


@dataclass(frozen=True, slots=True)
class Page:
    """One image directory of a TIFF file.

    Attributes:
        width: Pixels across.
        height: Pixels down.
        tile_width: Of its tiles; 0 where it is cut into strips.
        tile_height: Of its tiles; 0 where it is cut into strips.
        offsets: (n,) int64, where each tile or strip begins in the file, row by row.
        counts: (n,) int64, bytes of each.
        colour: How its JPEG tiles are coded; None where they are no 8-bit colour JPEG.
        tables: JPEG tables that all tiles share; may be empty.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    colour: Colour | None
    tables: bytes


def read_directory(path: Path) -> tuple[Page, ...] | None:
    """The image directories of a TIFF file, or None where it is none or can't be parsed."""
    try:
        with tifffile.TiffFile(path) as file:
            return tuple(_page(page) for page in file.pages)
    except Exception:  # tifffile raises anything on odd files; OpenSlide then decides alone
        return None


def check_extent(path: Path, pages: Sequence[Page]) -> None:
    """Refuse a file that is too short for the tiles that its directories name.

    Raises:
        CorruptSlideError: Some lie beyond the end of the file.
    """
    size = path.stat().st_size
    needed = max((int((page.offsets + page.counts).max()) for page in pages if page.offsets.size), default=0)
    if needed > size:
        raise CorruptSlideError(
            f"{shown(path)} is cut short: its tiles need {needed:,} bytes, the file has {size:,}. "
            "Copy it again from its source."
        )


def refuse_cut_short(path: Path) -> None:
    """Refuse a file that begins as TIFF, but ends before its directories, or the values that they name, do.

    Raises:
        CorruptSlideError: It does.
    """
    if _is_cut_short(path):
        raise CorruptSlideError(
            f"{shown(path)} is cut short: it names parts beyond its end. Copy it again from its source."
        )


def _is_cut_short(path: Path) -> bool:
    """Whether a file begins as TIFF, but its directories, or values that they name, lie beyond its end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(header[:2])
        form = (
            {42: _CLASSIC, 43: _BIG}.get(struct.unpack(order + "H", header[2:4])[0]) if order and header[3:4] else None
        )
        if order is None or form is None:
            return False
        try:
            (position,) = struct.unpack_from(order + form.offset, header, form.first)
            for _ in range(_MAX_DIRECTORIES):
                if position == 0:
                    return False
                position, reach = _directory(file, position, order, form)
                if reach > size:
                    return True
        except (struct.error, OSError, OverflowError):
            return True
    return False


def _directory(file: BinaryIO, position: int, order: str, form: _Form) -> tuple[int, int]:
    """Position of the directory after that at `position`, and the last byte that this one's values reach."""
    file.seek(position)
    (entries,) = struct.unpack(order + form.count, file.read(struct.calcsize(form.count)))
    if entries > _MAX_ENTRIES:
        raise struct.error("more entries than any directory has")
    entry = struct.Struct(order + "HH" + form.offset + form.offset)
    reach = 0
    for _ in range(entries):
        _, kind, number, place = entry.unpack(file.read(entry.size))
        bytes_needed = number * _VALUE_BYTES.get(kind, 0)
        if bytes_needed > struct.calcsize(form.offset):
            reach = max(reach, place + bytes_needed)
    (following,) = struct.unpack(order + form.offset, file.read(struct.calcsize(form.offset)))
    return following, reach


def _page(page: tifffile.TiffPage) -> Page:
    tiled = bool(page.is_tiled)
    return Page(
        width=int(page.imagewidth),
        height=int(page.imagelength),
        tile_width=int(page.tilewidth) if tiled else 0,
        tile_height=int(page.tilelength) if tiled else 0,
        offsets=np.asarray(page.dataoffsets, np.int64),
        counts=np.asarray(page.databytecounts, np.int64),
        colour=_colour(page),
        tables=bytes(page.jpegtables or b""),
    )


def _colour(page: tifffile.TiffPage) -> Colour | None:
    layout = (
        page.compression,
        page.samplesperpixel,
        page.bitspersample,
        page.planarconfig,
        page.imagedepth,
        page.fillorder,
    )
    if layout != (_JPEG, 3, 8, _CONTIGUOUS, 1, 1):
        return None
    return _COLOURS.get(int(page.photometric))
