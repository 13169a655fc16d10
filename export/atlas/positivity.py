"""When a patch counts as positive for a marker, where nobody who saw the stain has said so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OTSU_RULE = (
    "A patch is positive for a marker where log(1 + its mean intensity) lies above Otsu's threshold of that marker over"
    " the atlas patches that measured it."
)


def otsu_threshold(values: NDArray[np.floating]) -> float:
    """The cut that leaves the largest variance between what lies below and above it (N. Otsu, 1979).

    Every gap between two neighbouring values is tried, so no histogram and no number of bins is chosen; the cut is the
    middle of the best gap.

    Args:
        values: (n,) finite.

    Returns:
        The threshold; NaN where all values are equal.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    gaps = np.flatnonzero(np.diff(ordered) > 0)
    if not len(gaps):
        return float("nan")
    below = gaps + 1
    sums = np.cumsum(ordered)
    low, high = sums[gaps] / below, (sums[-1] - sums[gaps]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * (high - low) ** 2
    best = gaps[int(np.argmax(between))]
    return float((ordered[best] + ordered[best + 1]) / 2)


def otsu_positivity(expression: NDArray[np.float32]) -> NDArray[np.float32]:
    """Positivity by `OTSU_RULE`.

    Args:
        expression: (n, m) float32 mean raw intensity, NaN where not measured.

    Returns:
        (n, m) float32, 1 or 0; NaN where not measured, and for a marker that has the same value everywhere.
    """
    positive = np.full(expression.shape, np.nan, np.float32)
    for marker, column in enumerate(expression.T):
        measured = np.isfinite(column)
        values = np.log1p(column[measured].astype(np.float64))
        threshold = otsu_threshold(values)
        if np.isfinite(threshold):
            positive[measured, marker] = values > threshold
    return positive
