"""Any rectangle of one level, put together from the file's own tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .types import Slide


def read_region(slide: Slide, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    """Read a rectangle of one level. Each of the file's tiles that it touches is decoded once.

    Args:
        slide: An open slide.
        level: Index into `slide.info.levels`.
        x: Left edge, pixels of that level; may be negative.
        y: Upper edge, pixels of that level; may be negative.
        width: Pixels across, ≥ 0.
        height: Pixels down, ≥ 0.

    Returns:
        (height, width, 3) uint8 RGB, white (255) outside the level.

    Raises:
        UnreadableTileError: A file tile under the rectangle is corrupt.
    """
    geometry = slide.info.levels[level]
    region = np.full((height, width, 3), 255, np.uint8)
    right, bottom = min(x + width, geometry.width), min(y + height, geometry.height)
    left, upper = max(x, 0), max(y, 0)
    if left >= right or upper >= bottom:
        return region
    for row in range(upper // geometry.tile_height, (bottom - 1) // geometry.tile_height + 1):
        for column in range(left // geometry.tile_width, (right - 1) // geometry.tile_width + 1):
            tile = slide.read_tile(level, column, row)
            paste(region, tile, column * geometry.tile_width - x, row * geometry.tile_height - y)
    return region


def paste(canvas: NDArray[np.uint8], tile: NDArray[np.uint8], x: int, y: int) -> None:
    """Copy a tile onto a canvas in place, leaving out what lies beyond the canvas.

    Args:
        canvas: (height, width, 3) uint8, written.
        tile: (h, w, 3) uint8.
        x: Column of the canvas at which the tile's left edge lies; may be negative.
        y: Row of the canvas at which its upper edge lies; may be negative.
    """
    left, upper = (x if x > 0 else 0), (y if y > 0 else 0)
    right, bottom = x + tile.shape[1], y + tile.shape[0]
    canvas[upper:bottom, left:right] = tile[upper - y : canvas.shape[0] - y, left - x : canvas.shape[1] - x]
