"""Pearson and Spearman correlations of many columns, with intervals over patients.

A draw of patients gives every patch a whole number as its weight, and a weighted correlation is the correlation of the
draw with its repetitions. So nothing is copied: Pearson needs six sums a patient, Spearman ranks of repeated values.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Resamples

LEAST = 3
"""Patches that a correlation needs."""

MOST_RANKS = 2_000_000
"""Ranks that the draws of one column may take in all: 500 rounds of 4,000 patches, and fewer rounds of more."""

LEAST_ROUNDS = 100
"""Rounds that even the largest cohort gets; its intervals are narrow, so rougher ends do no harm."""

_FLAT = 1e-12
_AT_ONCE = 4 << 20

Floats = NDArray[np.float64]


def pearson_draws(first: NDArray[np.floating], second: NDArray[np.floating], resamples: Resamples) -> Floats:
    """(1 + rounds, m) Pearson correlations of the columns of two (n, m) arrays: as they are, then in each draw.

    Entries that either lacks (NaN) do not count; NaN where too few are left, or where one of the two is constant.
    """
    known = np.isfinite(first) & np.isfinite(second)
    a, b = (_centred(np.asarray(values, np.float64), known) for values in (first, second))
    sums = [resamples.sums(part) for part in (known.astype(np.float64), a, b, a * a, b * b, a * b)]
    count, x, y, xx, yy, xy = (np.concatenate([part.sum(axis=0)[None], resamples.weights @ part]) for part in sums)
    return _correlation(count, x, y, xx, yy, xy)


def spearman_draws(first: NDArray[np.floating], second: NDArray[np.floating], resamples: Resamples) -> Floats:
    """(1 + rounds, m) Spearman correlations; see `pearson_draws`. Large cohorts get fewer rounds: see `MOST_RANKS`."""
    rounds = max(LEAST_ROUNDS, MOST_RANKS // max(1, len(first)))
    weights = np.concatenate([np.ones((1, resamples.patients)), resamples.weights[:rounds]])
    out = np.full((len(weights), first.shape[1]), np.nan)
    for column in range(first.shape[1]):
        known = np.isfinite(first[:, column]) & np.isfinite(second[:, column])
        if known.sum() >= LEAST:
            a, b = first[known, column], second[known, column]
            for rows in _blocks(len(weights), len(a)):
                own = weights[rows][:, resamples.groups[known]]
                out[rows, column] = _weighted(weighted_ranks(a, own), weighted_ranks(b, own), own)
    return out


def weighted_ranks(values: NDArray[np.floating], weights: Floats) -> Floats:
    """(r, n) rank of each value, mean rank for ties, when every value is there as often as its weight says.

    Args:
        values: (n,) numbers.
        weights: (r, n) whole numbers.
    """
    _, back = np.unique(values, return_inverse=True)
    order = np.argsort(back, kind="stable")
    starts = np.flatnonzero(np.diff(back[order], prepend=-1))
    group = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(group, axis=1) - (group - 1) / 2
    return np.asarray(middle[:, back])


def _weighted(a: Floats, b: Floats, weights: Floats) -> Floats:
    """(r,) Pearson correlation of (r, n) values under (r, n) weights."""
    count = weights.sum(axis=1, keepdims=True)
    # A draw may hold none of the patients who measured this.
    share = weights / np.maximum(count, 1)
    mean_a, mean_b = ((share * values).sum(axis=1, keepdims=True) for values in (a, b))
    a, b = a - mean_a, b - mean_b
    sums = ((weights * part).sum(axis=1) for part in (a * a, b * b, a * b))
    zero = np.zeros(len(weights))
    return _correlation(count[:, 0], zero, zero, *sums)


def _correlation(count: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
    """Correlation from weighted sums of centred values."""
    number = np.maximum(count, 1)
    spread_x, spread_y = xx - x * x / number, yy - y * y / number
    # A flat column leaves rounding behind, as small against its sum of squares as float64 is fine.
    good = (count >= LEAST) & (spread_x > _FLAT * np.maximum(xx, _FLAT)) & (spread_y > _FLAT * np.maximum(yy, _FLAT))
    scale = np.sqrt(np.where(good, spread_x * spread_y, 1.0))
    return np.where(good, (xy - x * y / number) / scale, np.nan)


def _centred(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Columns without their mean, and 0 where not known."""
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    centred = np.where(known, values - mean, 0.0)
    # A constant column stays 0 instead of rounding.
    flat = np.abs(centred).max(axis=0, initial=0) <= 1e-9 * np.maximum(np.abs(mean), 1e-9)
    return np.where(flat, 0.0, centred)


def _blocks(rounds: int, count: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(1, count))
    return (slice(start, start + step) for start in range(0, rounds, step))
