"""The direct reader of tiled TIFF slides coded as JPEG: Aperio SVS and plain tiled pyramids.

The directory comes from tifffile, the bytes from `os.pread`, the pixels from libjpeg-turbo: identical to OpenSlide's,
at several times its speed. A file is read this way only where OpenSlide agrees with every assumption.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..errors import CorruptSlideError
from .jpeg import Colour, decode_tile, prefix
from .types import Level, SlideInfo, UnreadableTileError

_JPEG = 7
_CONTIGUOUS = 1
_COLOURS = {2: Colour.RGB, 6: Colour.YCBCR}
"""Of TIFF's photometric interpretations."""

_MAX_DIRECTORIES = 10_000
"""More than any slide has (focal planes times levels); ends a chain that loops."""


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


class TiffJpegReader:
    """A slide whose JPEG tiles are read without OpenSlide. `read_tile` may be called from several threads at once."""

    def __init__(self, path: Path, info: SlideInfo, pages: Sequence[Page]) -> None:
        """Read `path`, whose levels lie in `pages`, finest first."""
        self._info = info
        self._pages = tuple(pages)
        self._prefixes = tuple(prefix(page.tables, page.colour or Colour.YCBCR) for page in pages)
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def info(self) -> SlideInfo:
        """What the slide says about itself."""
        return self._info

    def read_tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Decode one of the file's own tiles; see `Slide.read_tile`."""
        page, shape = self._pages[level], self._info.levels[level]
        index = row * shape.columns + column
        count = int(page.counts[index])
        try:
            data = os.pread(self._file, count, int(page.offsets[index]))
        except OSError as error:
            raise UnreadableTileError(f"the file can't be read ({error.strerror})") from error
        if len(data) != count:
            raise UnreadableTileError("the file ends within the tile")
        tile = decode_tile(data, self._prefixes[level], shape.tile_width, shape.tile_height)
        return whiten_outside(tile, shape, column, row)

    def close(self) -> None:
        """Release the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def whiten_outside(tile: NDArray[np.uint8], level: Level, column: int, row: int) -> NDArray[np.uint8]:
    """Make a tile's pixels beyond the level's edge white, in place.

    Args:
        tile: (tile_height, tile_width, 3) uint8.
        level: The level it belongs to.
        column: Of the tile.
        row: Of the tile.
    """
    tile[max(0, level.height - row * level.tile_height) :] = 255
    tile[:, max(0, level.width - column * level.tile_width) :] = 255
    return tile


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
            f"{path.name} is cut short: its tiles need {needed:,} bytes, the file has {size:,}. "
            "Copy it again from its source."
        )


def is_cut_short(path: Path) -> bool:
    """Whether a file begins as TIFF, but its chain of directories runs past its end."""
    with path.open("rb") as file:
        header = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(header[:2])
        if order is None:
            return False
        classic = header[2:4] == struct.pack(order + "H", 42)
        if not classic and header[2:4] != struct.pack(order + "H", 43):
            return False
        count_form, entry, offset_form = (order + "H", 12, order + "I") if classic else (order + "Q", 20, order + "Q")
        try:
            (position,) = struct.unpack_from(offset_form, header, 4 if classic else 8)
            for _ in range(_MAX_DIRECTORIES):
                if position == 0:
                    return False
                file.seek(position)
                (entries,) = struct.unpack(count_form, file.read(struct.calcsize(count_form)))
                file.seek(entries * entry, os.SEEK_CUR)
                (position,) = struct.unpack(offset_form, file.read(struct.calcsize(offset_form)))
        except (struct.error, OSError, OverflowError):
            return True
    return False


def open_direct(path: Path, info: SlideInfo, vendor: str, pages: Sequence[Page]) -> TiffJpegReader | None:
    """Open the file for direct reading if its tiles are JPEG and its directories are the levels that OpenSlide sees.

    Args:
        path: The slide file.
        info: What OpenSlide says about it.
        vendor: OpenSlide's name of the format; others than Aperio and plain TIFF place tiles by rules of their own.
        pages: Its image directories.

    Returns:
        The reader, or None where anything is not as it should be.
    """
    if vendor not in ("aperio", "generic-tiff"):
        return None
    matched = [_match(level, pages) for level in info.levels]
    chosen = [page for page in matched if page is not None]
    if len(chosen) != len(matched):
        return None
    try:
        return TiffJpegReader(path, replace(info, reader="tiff-jpeg"), chosen)
    except UnreadableTileError:
        return None


def _match(level: Level, pages: Sequence[Page]) -> Page | None:
    """The one directory that holds a level, if all its tiles are there and coded as 8-bit colour JPEG."""
    wanted = (level.width, level.height)
    found = [page for page in pages if page.tile_width and (page.width, page.height) == wanted]
    if len(found) != 1:
        return None
    page = found[0]
    same_tiles = (page.tile_width, page.tile_height) == (level.tile_width, level.tile_height)
    complete = page.offsets.size == page.counts.size == level.columns * level.rows and bool((page.counts > 0).all())
    return page if same_tiles and complete and page.colour is not None else None


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
