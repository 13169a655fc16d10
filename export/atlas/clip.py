"""From a channel's counts to 0…255: the published histogram clip, region by region and channel by channel.

Source: Haiku, 2605.00925, published code ("PIF").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BIN = 256
LEAST_RANGE = 1000
HEADROOM = 1.1
FOREGROUND_QUANTILE = 0.99
RAREST = 5000
MOST_FREQUENT = 10
"""Bins with more than 1 / RAREST and at most 1 / MOST_FREQUENT of all pixels shape the range."""

TOP = 65535


def to_uint16(channel: NDArray[Any]) -> NDArray[np.uint16]:
    """Counts as uint16: 8-bit times 256, wider integers clipped.

    Floating-point channels (unmixed components) are scaled so that their largest value becomes 65535. The published
    code truncates them to whole numbers instead, which would leave a component image with a few dozen levels.
    """
    if channel.dtype == np.uint16:
        return np.asarray(channel, np.uint16)
    if channel.dtype == np.uint8:
        return np.asarray(channel.astype(np.uint16) * 256, np.uint16)
    if np.issubdtype(channel.dtype, np.floating):
        known = np.nan_to_num(channel.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        top = float(known.max(initial=0.0))
        return np.round(np.maximum(known, 0) * (TOP / top if top > 0 else 0)).astype(np.uint16)
    return np.asarray(np.clip(channel, 0, TOP), np.uint16)


def clip_range(channel: NDArray[np.uint16], tissue: NDArray[np.bool_]) -> tuple[int, int]:
    """The counts that become 0 and 255.

    Args:
        channel: (h, w) uint16.
        tissue: (h, w) bool.
    """
    background, foreground = channel[~tissue], channel[tissue]
    lower = int(np.median(background)) if background.size else 0
    foreground = foreground[foreground < foreground.max()] if foreground.size else foreground
    highest = float(np.quantile(foreground, FOREGROUND_QUANTILE)) * HEADROOM if foreground.size else TOP
    upper = int(min(max(highest, lower + LEAST_RANGE), TOP))
    edges = np.arange(lower, upper, BIN)
    if len(edges) > 1:
        counts, _ = np.histogram(channel, bins=edges)
        shaping = np.flatnonzero((counts > channel.size / RAREST) & (counts <= channel.size / MOST_FREQUENT))
        if len(shaping):
            return int(edges[shaping[0]]), int(edges[shaping[-1] + 1])
    return min(lower, TOP - 1), max(upper, lower + 1) if lower < TOP else TOP


def clip_channel(channel: NDArray[Any], tissue: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A channel as (h, w) uint8, black and white at the range of `clip_range`."""
    counts = to_uint16(channel)
    low, high = clip_range(counts, tissue)
    share = (np.clip(counts, low, high).astype(np.float32) - low) / (high - low + 1e-5)
    return np.asarray(np.round(share * 255), np.uint8)
