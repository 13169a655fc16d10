"""What stands out in a patch against the rest of its region: step A of the captions.

Source: Haiku, 2605.00925, published code, text recipe (`text_gen_mp.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

NAMED = 5
"""Markers named as enriched, and as depleted, at most."""

_EPSILON = 1e-6
_DENSE, _MODERATE, _SPARSE = 0.7, 0.3, 0.1


def bright_means(mif: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(c,) float32: the mean of the pixels above zero of each channel of (c, h, w); 0 where there are none."""
    flat = mif.reshape(len(mif), -1)
    above = np.count_nonzero(flat, axis=1)
    return np.asarray(flat.sum(axis=1, dtype=np.float64) / np.maximum(above, 1), np.float32)


def against_the_rest(means: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compare each patch with all other patches of its region.

    Args:
        means: (n, c) float32.

    Returns:
        z: (n, c) float32, in standard deviations (population) of the others; 0 where there are no others.
        percentile: (n, c) float32, per cent of the others that are not higher; 50 where there are none.
    """
    count = len(means)
    if count < 2:
        return np.zeros(means.shape, np.float32), np.full(means.shape, 50, np.float32)
    values = means.astype(np.float64)
    rest = count - 1
    mean = (values.sum(axis=0) - values) / rest
    # Centred first: the difference of large squares would lose the small variances.
    centred = values - values.mean(axis=0)
    square = ((centred**2).sum(axis=0) - centred**2) / rest
    deviation = np.sqrt(np.maximum(square - (-centred / rest) ** 2, 0))
    z = (values - mean) / (deviation + _EPSILON)
    ordered = np.sort(means, axis=0)
    not_higher = [np.searchsorted(ordered[:, c], means[:, c], side="right") - 1 for c in range(means.shape[1])]
    return z.astype(np.float32), (100 * np.stack(not_higher, axis=1) / rest).astype(np.float32)


def outstanding(z: NDArray[np.float32], named: int = NAMED) -> tuple[list[int], list[int]]:
    """Which of (c,) z-scores are the largest above zero and the lowest below, the most extreme first, each `named`."""
    order = np.argsort(-z, kind="stable")
    return [int(i) for i in order if z[i] > 0][:named], [int(i) for i in order[::-1] if z[i] < 0][:named]


def spatial_pattern(channel: NDArray[np.uint8]) -> str:
    """How a channel lies in a patch: the published class, such as 'heterogeneous_dense'.

    Coverage is the share of pixels above zero; cv the standard deviation of those over their mean; clustering
    1 / (1 + mean gradient on them), on raw 0…255 values, so that the clustered classes hardly ever fire; homogeneity
    that of the grey-level co-occurrence matrix (distance 1, angle 0, 256 levels, symmetric).
    """
    above = channel > 0
    coverage = float(above.mean())
    if coverage < _SPARSE:
        return "sparse"
    bright = channel[above].astype(np.float64)
    cv, clustering = bright.std() / bright.mean(), _clustering(channel, above)
    if coverage > _DENSE:
        if cv < 0.5 and _homogeneity(channel) > 0.6:
            return "uniform_dense"
        return "clustered_dense" if clustering > 0.7 else "heterogeneous_dense"
    if coverage > _MODERATE:
        if clustering > 0.6:
            return "clustered_moderate"
        return "uniform_moderate" if cv < 0.6 else "heterogeneous_moderate"
    return "clustered_sparse" if clustering > 0.5 else "scattered_sparse"


def _clustering(channel: NDArray[np.uint8], above: NDArray[np.bool_]) -> float:
    down, right = np.gradient(channel.astype(np.float64))
    return float(1 / (1 + np.hypot(down, right)[above].mean()))


def _homogeneity(channel: NDArray[np.uint8]) -> float:
    low, high = int(channel.min()), int(channel.max())
    stretched = np.zeros_like(channel)
    if high > low:
        stretched = ((channel.astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)
    if not stretched.any():
        return 0.0
    matrix = graycomatrix(stretched, distances=[1], angles=[0], levels=256, symmetric=True, normed=True)
    return float(graycoprops(matrix, "homogeneity")[0, 0])
