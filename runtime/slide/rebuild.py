"""Standing in for file tiles that can't be read: the same area, averaged down from the next finer level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .types import Level, Slide, UnreadableTileError

Box = tuple[float, float, float, float]
"""Left, upper, right, lower, in level-0 pixels."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file tile, or what stands in for it.

    Attributes:
        tile: (tile_height, tile_width, 3) uint8 RGB, white where nothing could be read.
        readable: Whether the file tile itself could be read.
        lost: What could not be read at any level, within the tile, level-0 pixels.
    """

    tile: NDArray[np.uint8]
    readable: bool = True
    lost: tuple[Box, ...] = ()


def read_piece(slide: Slide, level: int, column: int, row: int) -> Piece:
    """Read a file tile; where it can't be read, average it from those of the next finer level, and so on to level 0.

    Memory holds one file tile of each level that is tried.

    Args:
        slide: An open slide.
        level: Index into `slide.info.levels`.
        column: Of the file tile.
        row: Of the file tile.
    """
    try:
        return Piece(slide.read_tile(level, column, row))
    except UnreadableTileError:
        return _rebuild(slide, level, column, row)


def _rebuild(slide: Slide, level: int, column: int, row: int) -> Piece:
    """The area-weighted mean of the finer tiles under a file tile."""
    shape, area = slide.info.levels[level], _area(slide.info.levels[level], column, row)
    if level == 0:
        return Piece(np.full((shape.tile_height, shape.tile_width, 3), 255, np.uint8), False, (area,))
    finer = slide.info.levels[level - 1]
    ratio = shape.downsample / finer.downsample
    # Darkness, as in the overview: what is missing adds none, so it stays white.
    darkness = np.zeros((shape.tile_height, shape.tile_width, 3), np.float32)
    lost: list[Box] = []
    for y, x in product(_under(area[1], area[3], finer, rows=True), _under(area[0], area[2], finer, rows=False)):
        piece = read_piece(slide, level - 1, x, y)
        down, rows = _weights(
            row * shape.tile_height, shape.tile_height, y * finer.tile_height, finer.tile_height, ratio
        )
        across, columns = _weights(
            column * shape.tile_width, shape.tile_width, x * finer.tile_width, finer.tile_width, ratio
        )
        narrow = np.tensordot(np.float32(255) - piece.tile, across, (1, 1))  # (h, 3, columns)
        darkness[rows, columns] += np.tensordot(down, narrow, (1, 0)).transpose(0, 2, 1)
        lost += piece.lost
    clipped = (_intersection(box, area) for box in lost)
    return Piece(np.rint(255 - darkness).clip(0, 255).astype(np.uint8), False, tuple(box for box in clipped if box))


def _area(level: Level, column: int, row: int) -> Box:
    """What a file tile covers of its level, in level-0 pixels."""
    left, upper = column * level.tile_width, row * level.tile_height
    right, lower = min(left + level.tile_width, level.width), min(upper + level.tile_height, level.height)
    return left * level.downsample, upper * level.downsample, right * level.downsample, lower * level.downsample


def _under(start: float, end: float, level: Level, *, rows: bool) -> range:
    """Which rows, or columns, of a level's file tiles lie under a stretch of level-0 pixels."""
    side, count = (level.tile_height, level.rows) if rows else (level.tile_width, level.columns)
    extent = side * level.downsample
    return range(int(start / extent), min(math.ceil(end / extent), count))


def _weights(
    start: int, count: int, finer_start: int, finer_count: int, ratio: float
) -> tuple[NDArray[np.float32], slice]:
    """How much each pixel of a finer tile adds to each pixel of a coarser one, along one direction.

    Args:
        start: First pixel of the coarser tile.
        count: Its pixels.
        finer_start: First pixel of the finer tile.
        finer_count: Its pixels.
        ratio: Finer pixels per coarser pixel.

    Returns:
        (m, finer_count) float32 weights, and which m pixels of the coarser tile they belong to.
    """
    first = min(max(int(finer_start / ratio) - start, 0), count)
    last = min(max(math.ceil((finer_start + finer_count) / ratio) - start, first), count)
    edges = (np.arange(first, last + 1) + start) * ratio
    pixels = np.arange(finer_count) + finer_start
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(overlap.clip(0) / ratio, np.float32), slice(first, last)


def _intersection(box: Box, area: Box) -> Box | None:
    """What two boxes share, or None."""
    left, upper, right, lower = max(box[0], area[0]), max(box[1], area[1]), min(box[2], area[2]), min(box[3], area[3])
    return (left, upper, right, lower) if left < right and upper < lower else None
