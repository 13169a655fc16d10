"""Where the patches of a region lie (Haiku, 2605.00925, published code)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..dataset import SIDE

STRIDE = int(SIDE * 0.7)
"""Pixels from patch to patch: 179, which is 30 % overlap."""

LEAST_TISSUE = 0.9
"""Least share of tissue of a patch that is kept."""


def patch_corners(
    tissue: NDArray[np.bool_], rng: np.random.Generator, least_tissue: float = LEAST_TISSUE
) -> NDArray[np.int32]:
    """Top-left corners of the patches with enough tissue, column by column as the published code goes.

    The grid begins at a random pixel below the stride. In a field so small that this would leave no room for a single
    patch (the published regions never are), it begins within the room that there is.

    Args:
        tissue: (h, w) bool, at the patches' resolution.
        rng: Draws where the grid begins.
        least_tissue: Least share of tissue.

    Returns:
        (n, 2) int32, x and y in pixels.
    """
    height, width = tissue.shape
    if min(height, width) < SIDE:
        return np.empty((0, 2), np.int32)
    first_x, first_y = (int(rng.integers(min(STRIDE, room - SIDE + 1))) for room in (width, height))
    x = np.arange(first_x, width - SIDE + 1, STRIDE)
    y = np.arange(first_y, height - SIDE + 1, STRIDE)
    corners = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int32)
    share = [tissue[top : top + SIDE, left : left + SIDE].mean() for left, top in corners]
    return corners[np.array(share) >= least_tissue]


def patch_name(region: str, x: int, y: int) -> str:
    """The published name of a patch: {region}_{x1}-{x2}-{y1}-{y2}."""
    return f"{region}_{x}-{x + SIDE}-{y}-{y + SIDE}"
