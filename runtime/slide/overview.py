"""The whole slide as one small picture, on which tissue, pen and folds are found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .rebuild import Box, read_piece
from .types import Level, Slide

OVERVIEW_MPP = 8.0
"""Micrometres per pixel of an overview: a 128 µm tile is 16 pixels across, and the masks take under a second."""

MOST_PIXELS = 16_000_000
"""Largest overview; a slide with more than 32 mm × 32 mm is averaged down further, so that the masks' memory has a
bound."""

SMALL_SLIDE = 32_000_000
"""Up to so many pixels level 0 itself is averaged, in well under a second: the same tissue then gives the same tiles
however the lower levels of its file were made."""

LEVEL_TOLERANCE = 1.05
"""A level this much coarser than asked for still serves: scanners round the downsample of their pyramids."""

_ROUNDING = 1e-6
"""Overview pixels. Sides of file tiles that are off a pixel's edge by no more lie on it."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A small picture of the whole slide.

    Attributes:
        image: (h, w, 3) uint8 RGB; white where nothing could be read.
        scale: Level-0 pixels per pixel of the overview: pixel (i, j) covers level-0 columns j·scale to (j+1)·scale.
        unreadable: Number of file tiles that could not be read of the level that it was made from.
        mpp: Micrometres per pixel of the overview, the mean of both directions.
        lost: Where nothing could be read, at no finer level either: boxes (left, upper, right, lower) in pixels of the
            overview.
    """

    image: NDArray[np.uint8]
    scale: float
    unreadable: int
    mpp: float = OVERVIEW_MPP
    lost: tuple[tuple[int, int, int, int], ...] = ()


def read_overview(slide: Slide, mpp: float = OVERVIEW_MPP) -> Overview:
    """Average the best level down to about `mpp`.

    The coarsest level that is still as fine as asked for (of a small slide: level 0) is read tile by tile, each
    decoded once, and averaged over squares of a whole number of its pixels, so that overview pixels and level pixels
    never drift apart. A file tile that can't be read is filled in from the finer levels, down to level 0. Beside the
    overview itself, memory holds one row of it.

    Args:
        slide: An open slide.
        mpp: Micrometres per pixel wanted; what comes is the nearest that a whole number of level pixels gives, or
            coarser where it would have more than `MOST_PIXELS`.

    Returns:
        The overview. Unreadable file tiles are counted; what no level gives is white in it and listed as lost.
    """
    resolution, whole = slide.info.resolution.mean, slide.info.levels[0]
    mpp = max(mpp, resolution * math.sqrt(whole.width * whole.height / MOST_PIXELS))
    level = _choose_level(slide, mpp)
    geometry = slide.info.levels[level]
    factor = max(1, round(mpp / (resolution * geometry.downsample)))
    image = np.full((-(-geometry.height // factor), -(-geometry.width // factor), 3), 255, np.uint8)
    scale = factor * geometry.downsample
    unreadable = 0
    lost: list[Box] = []
    carry = np.zeros((1, image.shape[1], 3), np.float32)
    for row in range(geometry.rows):
        first, band = _open_band(geometry, factor, row, carry)
        for column in range(geometry.columns):
            piece = read_piece(slide, level, column, row)
            _darken(band, piece.tile, geometry, factor, column, row)
            unreadable += not piece.readable
            lost += piece.lost
        rows = image[first : first + len(band)]
        rows[:] = np.rint(255 - band[: len(rows)])
        carry = band[-1:]
    return Overview(image, scale, unreadable, resolution * scale, tuple(_box(place, scale) for place in lost))


def _choose_level(slide: Slide, mpp: float) -> int:
    """The coarsest level not coarser than `mpp`; level 0 if none is, or if the slide is small."""
    if slide.info.levels[0].width * slide.info.levels[0].height <= SMALL_SLIDE:
        return 0
    finest = slide.info.resolution.mean
    fine = [i for i, level in enumerate(slide.info.levels) if finest * level.downsample <= mpp * LEVEL_TOLERANCE]
    return max(fine, key=lambda i: slide.info.levels[i].downsample, default=0)


def _open_band(level: Level, factor: int, row: int, carry: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
    """An empty accumulator for the overview rows under one row of file tiles.

    Returns:
        The first overview row, and (rows, w, 3) float32 darkness (255 − value); its first row starts from what the
        tiles above have left in it where a file tile ends within an overview pixel.
    """
    upper = row * level.tile_height
    first, last = upper // factor, (upper + level.tile_height - 1) // factor
    band = np.zeros((last - first + 1, carry.shape[1], 3), np.float32)
    if upper % factor:
        band[0] = carry[0]
    return first, band


def _darken(
    band: NDArray[np.float32], tile: NDArray[np.uint8], geometry: Level, factor: int, column: int, row: int
) -> None:
    """Add one file tile to the accumulator."""
    left, upper = column * geometry.tile_width, row * geometry.tile_height
    inside = tile[: geometry.height - upper, : geometry.width - left]
    darkness = np.float32(255) - inside
    before = (upper % factor, left % factor)
    height, width = (_whole(skip + side, factor) for skip, side in zip(before, darkness.shape, strict=False))
    aligned = np.zeros((height, width, 3), np.float32)
    aligned[before[0] :, before[1] :][: darkness.shape[0], : darkness.shape[1]] = darkness
    small = cv2.resize(aligned, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    band[: small.shape[0], left // factor : left // factor + small.shape[1]] += small


def _box(place: Box, scale: float) -> tuple[int, int, int, int]:
    """The overview pixels that a box of level-0 pixels touches by more than the rounding of a downsample."""
    left, upper, right, lower = (side / scale for side in place)
    return (
        math.floor(left + _ROUNDING),
        math.floor(upper + _ROUNDING),
        math.ceil(right - _ROUNDING),
        math.ceil(lower - _ROUNDING),
    )


def _whole(length: int, factor: int) -> int:
    """The length rounded up to a multiple of the factor."""
    return math.ceil(length / factor) * factor
