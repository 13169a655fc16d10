"""Patches that overlap, as the published atlas cuts them (Haiku, 2605.00925): 30 % of a side shared with the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .synthetic import Patches, Region

BLOCK = 16
"""Pixels along a block of a region's truth."""

Floats = NDArray[np.float32]


def overlapping_patches(region: Region, size: int, stride: int) -> Patches:
    """Cut a region into squares of `size` pixels that begin `stride` pixels apart, row by row.

    The truth of a patch is the mean over its pixels of the blocks that they lie in.

    Args:
        region: At least one patch wide and high.
        size: Side of a patch in pixels.
        stride: Pixels from patch to patch, along both axes.
    """
    origins = _origins(region.he.shape[:2], size, stride)
    windows = [(slice(y, y + size), slice(x, x + size)) for x, y in origins.tolist()]
    mif = np.stack([region.mif[:, rows, columns] for rows, columns in windows])
    expression = mif.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
    expression[:, ~region.measured] = np.nan
    return Patches(
        he=np.stack([region.he[window] for window in windows]),
        mif=mif,
        expression=expression,
        expected=_means(region.expected, windows),
        expected_without_facts=_means(region.expected_without_facts, windows),
        tissue_share=_means(region.tissue_share[None], windows)[:, 0],
        origins=origins,
        measured=region.measured,
    )


def _origins(shape: tuple[int, ...], size: int, stride: int) -> NDArray[np.int32]:
    """(n, 2) int32 top-left corners (x, y) of the squares that fit."""
    y, x = (np.arange(0, side - size + 1, stride) for side in shape)
    return np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1).astype(np.int32)


def _means(blocks: Floats, windows: list[tuple[slice, slice]]) -> Floats:
    """(n, c) float32: means over windows in pixels of (c, h / 16, w / 16) block values."""
    pixels = blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)
    return np.stack([pixels[:, rows, columns].mean(axis=(1, 2), dtype=np.float64) for rows, columns in windows]).astype(
        np.float32
    )
