"""The statistics of paired changes, without SciPy, so that the lean installation has them.

Units are whatever may be taken as independent: spatial blocks within a slide, patients in a cohort. Never tiles, which
overlap or touch, and which all share one edited text.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOOTSTRAP = 2000
"""Resamples of an interval, as in the published cohort analysis (Haiku, 2605.00925, counterfactual)."""

COVERAGE = 0.95
LEAST_UNITS = 5
"""Below this many units no test can reach 0.05, and no interval is worth printing."""

_EXACT_FLIPS_UP_TO = 13
_RANDOM_FLIPS = 9999
_EXACT_RANKS_UP_TO = 50
_SEED = 42


def wilcoxon(differences: NDArray[np.floating]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; zeros are left out, as is not known (NaN).

    Up to 50 units the distribution is exact, ties among them too (midranks, by counting sums of doubled ranks); beyond,
    the normal approximation with the correction for ties. Agrees with SciPy's where SciPy is exact or asymptotic.

    Returns:
        p, 1 where every difference is 0, NaN without any.
    """
    known = np.asarray(differences, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return math.nan
    own = known[known != 0]
    if not len(own):
        return 1.0
    ranks, ties = _midranks(np.abs(own))
    positive = float(ranks[own > 0].sum())
    count = len(own)
    if count <= _EXACT_RANKS_UP_TO:
        return _exact_signed_rank(ranks, positive)
    mean = count * (count + 1) / 4
    variance = count * (count + 1) * (2 * count + 1) / 24 - float((ties**3 - ties).sum()) / 48
    return math.erfc(abs(positive - mean) / math.sqrt(2 * variance))


def _midranks(values: Floats) -> tuple[Floats, Floats]:
    """Ranks from 1, the mean of the places where values tie, and the sizes of the groups of equal values."""
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return (last - (sizes - 1) / 2)[place], sizes.astype(np.float64)


def _exact_signed_rank(ranks: Floats, positive: float) -> float:
    doubled = np.rint(2 * ranks).astype(np.int64)
    chances = np.zeros(int(doubled.sum()) + 1)
    chances[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[: len(chances) - rank]
        chances = (chances + shifted) / 2
    place = round(2 * positive)
    return float(min(1.0, 2 * min(chances[: place + 1].sum(), chances[place:].sum())))


def sign_flip(differences: NDArray[np.floating]) -> float:
    """Two-sided p that the mean difference is 0, by flipping signs: every way up to 13 units, else 9999 drawn ways.

    Args:
        differences: (u,) one difference a unit; NaN is left out.
    """
    own = np.asarray(differences, np.float64)
    own = own[np.isfinite(own)]
    if not len(own):
        return math.nan
    reached = abs(own.sum())
    slack = 1e-12 * np.abs(own).sum()
    if len(own) <= _EXACT_FLIPS_UP_TO:
        ways = (np.arange(2 ** len(own))[:, None] >> np.arange(len(own))) & 1
        return float(np.mean(np.abs((1 - 2 * ways) @ own) >= reached - slack))
    signs = np.random.default_rng(_SEED).choice((-1.0, 1.0), (_RANDOM_FLIPS, len(own)))
    return float((1 + np.count_nonzero(np.abs(signs @ own) >= reached - slack)) / (1 + _RANDOM_FLIPS))


def benjamini_hochberg(p: NDArray[np.floating]) -> Floats:
    """q-values (Y. Benjamini and Y. Hochberg, 1995): the least rate of false discoveries at which each would be found.

    Args:
        p: (m,); NaN is no test, and gets NaN.
    """
    values = np.asarray(p, np.float64)
    q = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    scaled = values[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def paired_effect(differences: NDArray[np.floating]) -> float:
    """d_z: the mean difference in standard deviations (n - 1) of the differences.

    NaN below two units, or where all differences are the same: a spread of nothing has no size.
    """
    own = np.asarray(differences, np.float64)
    own = own[np.isfinite(own)]
    if len(own) < 2:
        return math.nan
    spread = float(own.std(ddof=1))
    return float(own.mean()) / spread if spread > 1e-12 * max(1.0, float(np.abs(own).max())) else math.nan


def bootstrap_interval(
    sums: NDArray[np.floating], weights: NDArray[np.floating], *, resamples: int = BOOTSTRAP, seed: int = _SEED
) -> tuple[Floats, Floats]:
    """Percentile intervals of a weighted mean when whole units are drawn anew.

    Args:
        sums: (u, m) sum of the differences of each unit's tiles.
        weights: (u, m) number of those tiles.
        resamples: How often units are drawn.
        seed: Of the draws.

    Returns:
        Lower and upper ends, each (m,), at `COVERAGE`; NaN where fewer than `LEAST_UNITS` units have a value.
    """
    units = len(sums)
    width = sums.shape[1]
    if not units:
        return np.full(width, np.nan), np.full(width, np.nan)
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)
    total = drawn @ np.asarray(weights, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(total > 0, (drawn @ np.asarray(sums, np.float64)) / total, np.nan)
    enough = (np.asarray(weights) > 0).sum(axis=0) >= LEAST_UNITS
    low, high = np.full(width, np.nan), np.full(width, np.nan)
    if enough.any():
        tail = 100 * (1 - COVERAGE) / 2
        low[enough], high[enough] = np.nanpercentile(means[:, enough], [tail, 100 - tail], axis=0)
    return low, high
