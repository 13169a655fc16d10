"""How a DICOM slide's JPEG frames are coloured, by measurement.

Headers are wrong in the field in both directions: some say RGB over YCbCr frames, some frames bear Adobe's mark for
RGB and are YCbCr. Glass decides: bare glass is bright and neutral in the true coding, and strongly coloured in the
other. Neutral white is (240, 240, 240) as RGB and (240, 128, 128) as YCbCr, so no pixel speaks for both.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .jpeg import Colour

SAMPLED_FRAMES = 48
"""Frames looked at, evenly spread over a level: enough to meet glass on a slide that is mostly tissue."""

_SAMPLED_SIDE = 64
"""Pixels looked at across and down a frame; a grid of them tells as much as all."""

_BRIGHT = 200
"""Grey value from which a pixel may be glass."""

_NEUTRAL = 12
"""Largest departure of a component from grey that still counts as neutral."""

_LEAST_SHARE = 0.002
"""Of the pixels that must be glass for the measurement to count."""

_LEAST_RATIO = 10.0
"""By which one coding must have more neutral pixels than the other."""


def measure(tiles: Iterable[NDArray[np.uint8]]) -> Colour | None:
    """Tell the coding from raw components.

    Args:
        tiles: (h, w, 3) uint8 each, the JPEG's three components without any colour conversion.

    Returns:
        The coding under which the bright pixels are neutral, or None where there is too little glass to tell.
    """
    as_rgb = as_ycbcr = pixels = 0
    for tile in tiles:
        step = max(1, min(tile.shape[:2]) // _SAMPLED_SIDE)
        parts = tile[::step, ::step].astype(np.int16)
        spread = parts.max(axis=2) - parts.min(axis=2)
        chroma = np.abs(parts[..., 1:] - 128).max(axis=2)
        as_rgb += int(np.count_nonzero((parts.min(axis=2) >= _BRIGHT) & (spread <= 2 * _NEUTRAL)))
        as_ycbcr += int(np.count_nonzero((parts[..., 0] >= _BRIGHT) & (chroma <= _NEUTRAL)))
        pixels += spread.size
    most, least = max(as_rgb, as_ycbcr), min(as_rgb, as_ycbcr)
    if most == 0 or most < _LEAST_SHARE * pixels or most < _LEAST_RATIO * least:
        return None
    return Colour.RGB if as_rgb > as_ycbcr else Colour.YCBCR
