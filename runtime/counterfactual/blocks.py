"""Spatial blocks: the units of the statistics within one slide.

Neighbouring tiles share tissue and lean on the same patches, so tiles are no sample. A block is a square of about a
millimetre; only blocks with enough tiles count, and tiles are whole in one block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDES_MM: Final = (1.0, 0.75, 0.5, 0.375)
"""Sides to choose from, the largest first; a small piece of tissue has too few blocks of a millimetre."""

WANTED: Final = 12
"""Blocks from which a test within a slide can say something; the largest side that gives so many is taken."""

LEAST_TILES: Final = 4
"""Fewest tiles of a block that counts."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where n tiles fall.

    Attributes:
        side_mm: Side of a block.
        labels: (n,) int64 block of each tile, 0 to count - 1; -1 in a block with too few tiles.
        count: Blocks that count.
    """

    side_mm: float
    labels: NDArray[np.int64]
    count: int


def cut_into_blocks(x_mm: NDArray[np.floating], y_mm: NDArray[np.floating], tile_mm: float) -> Blocks:
    """Group tiles by a square grid over the slide.

    The side depends on where tiles are, never on what was found: the largest of `SIDES_MM` with at least `WANTED`
    blocks, else the smallest. A side is rounded to whole tiles and holds at least two, so that no tile lies across a
    border.

    Args:
        x_mm: (n,) left edges of the tiles.
        y_mm: (n,) top edges.
        tile_mm: Side of a tile.
    """
    column = np.floor(np.asarray(x_mm, np.float64) / tile_mm + 0.5).astype(np.int64)
    row = np.floor(np.asarray(y_mm, np.float64) / tile_mm + 0.5).astype(np.int64)
    blocks = Blocks(0.0, np.full(len(column), -1, np.int64), 0)
    for side in SIDES_MM:
        tiles = max(2, round(side / tile_mm))
        blocks = _cut(column // tiles, row // tiles, tiles * tile_mm)
        if blocks.count >= WANTED:
            break
    return blocks


def _cut(across: NDArray[np.int64], down: NDArray[np.int64], side_mm: float) -> Blocks:
    _, place, sizes = np.unique(np.stack([down, across], axis=1), axis=0, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes >= LEAST_TILES)
    number = np.full(len(sizes), -1, np.int64)
    number[kept] = np.arange(len(kept))
    return Blocks(side_mm, number[place.ravel()], len(kept))


def sums_by_block(values: NDArray[np.floating], blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the finite values in each block.

    Args:
        values: (n, m).
        blocks: Of the same n tiles.

    Returns:
        Two (count, m) arrays.
    """
    sums = np.zeros((blocks.count, values.shape[1]))
    numbers = np.zeros_like(sums)
    inside = blocks.labels >= 0
    known = np.isfinite(values[inside])
    np.add.at(sums, blocks.labels[inside], np.where(known, values[inside], 0.0))
    np.add.at(numbers, blocks.labels[inside], known.astype(np.float64))
    return sums, numbers
