"""Writes a pyramidal SVS as Aperio scanners do: tiled JPEG levels in a TIFF, with the thumbnail as second page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UsageError

Pixels = NDArray[np.uint8]
ReadRegion = Callable[[int, int, int, int], Pixels]
"""(x, y, width, height) in level-0 pixels, inside the slide, to (height, width, 3) uint8 RGB."""

TILE_PX: Final = 256
LEVEL_STEP: Final = 4
"""Each level is so many times smaller than the one before, as Aperio has it."""
SMALLEST_LEVEL_PX: Final = 512
THUMBNAIL_PX: Final = 1024
BAND_TILES: Final = 4
"""Rows of tiles that are asked for at a time: 1024 px, which every level step divides."""

Subsampling = Literal["420", "444"]
_SUBSAMPLING: Final[dict[Subsampling, tuple[int, int]]] = {"420": (2, 2), "444": (1, 1)}


def write_svs(
    path: Path,
    source: Pixels | ReadRegion,
    *,
    mpp: float,
    size: tuple[int, int] | None = None,
    magnification: int = 20,
    quality: int = 85,
    subsampling: Subsampling = "420",
    remark: str = "",
) -> None:
    """Writes a slide that OpenSlide opens as vendor "aperio".

    Levels are 1x, 1/4x, 1/16x … down to `SMALLEST_LEVEL_PX`, each reduced by area averages from the pixels before
    compression. The source is asked for whole bands of 1024 rows from top to bottom, each once.

    Args:
        path: Where; an existing file is replaced.
        source: (h, w, 3) uint8 RGB, or a function that reads a region.
        mpp: Micrometres per pixel of level 0.
        size: (width, height) in pixels, needed where `source` is a function.
        magnification: Nominal power of the objective.
        quality: JPEG quality, 1 to 100.
        subsampling: Of the colours; "420" is what scanners write.
        remark: More fields for the description, such as "Comment = synthetic".
    """
    if callable(source) and size is None:
        raise UsageError("write_svs was given a function to read from, but no size. Pass size=(width, height).")
    if callable(source):
        read, (width, height) = source, size or (0, 0)
    else:
        read, (height, width) = _reader(source), source.shape[:2]
    if min(width, height) < 1 or mpp <= 0:
        raise UsageError(f"A slide of {width} x {height} px at {mpp} µm/px can't be written. Use positive numbers.")
    levels, overview = _compress(read, width, height, quality, subsampling)
    heading = f"Aperio Image Library v12.0.0 \r\n{width}x{height} [0,0 {width}x{height}] ({TILE_PX}x{TILE_PX})"
    fields = f"AppMag = {magnification}|MPP = {mpp:.4f}" + (f"|{remark}" if remark else "")
    with _coded_tiles_accepted(), tifffile.TiffWriter(path, bigtiff=False) as writer:
        for number, level in enumerate(levels):
            shrunk = "" if number == 0 else f" -> {level.width}x{level.height}"
            _write_tiled(writer, level, f"{heading}{shrunk} JPEG/RGB Q={quality}|{fields}", subsampling, mpp, number)
            if number == 0:
                _write_thumbnail(writer, overview, f"{heading} -> thumbnail|{fields}", quality)


@contextlib.contextmanager
def _coded_tiles_accepted() -> Iterator[None]:
    """Let tifffile take tiles that are JPEGs already.

    It looks for an encoder even then, and knows one for JPEG only from imagecodecs, which the lean install does not
    have. Nothing is encoded through the one that stands in for it here.
    """
    codecs, jpeg = tifffile.TIFF.COMPRESSORS._codecs, int(tifffile.COMPRESSION.JPEG)
    before = codecs.get(jpeg)
    codecs[jpeg] = simplejpeg.encode_jpeg
    try:
        yield
    finally:
        del codecs[jpeg]
        if before is not None:
            codecs[jpeg] = before


@dataclass(frozen=True, slots=True)
class _Level:
    """One level of the pyramid: its size in pixels and its compressed tiles, row by row."""

    width: int
    height: int
    tiles: tuple[bytes, ...]


def _reader(image: Pixels) -> ReadRegion:
    """Reads from an array."""

    def read(x: int, y: int, width: int, height: int) -> Pixels:
        return image[y : y + height, x : x + width]

    return read


def _compress(
    read: ReadRegion, width: int, height: int, quality: int, subsampling: Subsampling
) -> tuple[list[_Level], Pixels]:
    """All levels, each from the reduced pixels of the level before, and the pixels of the smallest one."""
    levels: list[_Level] = []
    while True:
        tiles: list[bytes] = []
        smaller: list[Pixels] = []
        for top in range(0, height, TILE_PX * BAND_TILES):
            rows = min(TILE_PX * BAND_TILES, height - top)
            pixels = np.ascontiguousarray(read(0, top, width, rows))
            tiles.extend(_tiles(pixels, quality, subsampling))
            if rows >= LEVEL_STEP:
                size = (max(width // LEVEL_STEP, 1), rows // LEVEL_STEP)
                smaller.append(np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8))
        levels.append(_Level(width, height, tuple(tiles)))
        if max(width, height) < SMALLEST_LEVEL_PX * LEVEL_STEP:
            return levels, np.ascontiguousarray(read(0, 0, width, height))
        reduced = np.concatenate(smaller)
        height, width = reduced.shape[:2]
        read = _reader(reduced)


def _tiles(pixels: Pixels, quality: int, subsampling: Subsampling) -> Iterator[bytes]:
    """JPEG tiles of a band, row by row; beyond the edge the last pixels repeat, which compresses best."""
    height, width = pixels.shape[:2]
    below, right = -height % TILE_PX, -width % TILE_PX
    padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            tile = np.ascontiguousarray(padded[y : y + TILE_PX, x : x + TILE_PX])
            yield simplejpeg.encode_jpeg(tile, quality=quality, colorsubsampling=subsampling)


def _write_tiled(
    writer: tifffile.TiffWriter, level: _Level, description: str, subsampling: Subsampling, mpp: float, number: int
) -> None:
    """One level as a tiled page."""
    writer.write(
        iter(level.tiles),
        shape=(level.height, level.width, 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        photometric="ycbcr",
        subsampling=_SUBSAMPLING[subsampling],
        compression="jpeg",
        description=description,
        metadata=None,
        software=False,
        resolution=(1e4 / (mpp * LEVEL_STEP**number), 1e4 / (mpp * LEVEL_STEP**number)),
        resolutionunit="CENTIMETER",
        subfiletype=0,
    )


def _write_thumbnail(writer: tifffile.TiffWriter, overview: Pixels, description: str, quality: int) -> None:
    """The thumbnail as one strip, which is how OpenSlide tells it from a level."""
    scale = min(1.0, THUMBNAIL_PX / max(overview.shape[:2]))
    size = (max(round(overview.shape[1] * scale), 1), max(round(overview.shape[0] * scale), 1))
    picture = np.ascontiguousarray(cv2.resize(overview, size, interpolation=cv2.INTER_AREA))
    writer.write(
        iter([simplejpeg.encode_jpeg(picture, quality=quality, colorsubsampling="420")]),
        shape=picture.shape,
        dtype=np.uint8,
        rowsperstrip=picture.shape[0],
        photometric="ycbcr",
        subsampling=(2, 2),
        compression="jpeg",
        description=description,
        metadata=None,
        software=False,
        subfiletype=0,
    )
