"""The pixels of a few tiles, as the tower saw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..slide import Slide, TilePlan, TileStream


def read_pixels(slide: Slide, plan: TilePlan, tiles: Sequence[int], threads: int) -> dict[int, NDArray[np.uint8]]:
    """Read tiles again.

    Args:
        slide: The open slide.
        plan: Its tiles.
        tiles: Rows of the plan.
        threads: Threads for decoding.

    Returns:
        Row of the plan → (size, size, 3) uint8.
    """
    rows = np.array(sorted(tiles), dtype=np.int64)
    if not len(rows):
        return {}
    own = {name: getattr(plan.grid, name)[rows] for name in ("columns", "rows", "origins", "tissue")}
    chosen = replace(plan, grid=replace(plan.grid, **own))
    with TileStream(slide, chosen, batch_size=len(rows), threads=threads, unreadable_share=1.0) as stream:
        (batch,) = list(stream)
        return {int(row): tile.copy() for row, tile in zip(rows, batch.tiles, strict=True)}
