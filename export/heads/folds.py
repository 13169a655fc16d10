"""Folds of patients, balanced over classes or events, the same for every model that is compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold


def fold_numbers(strata: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Give every patient a fold.

    One row is one patient here, so a stratified fold of rows is a fold grouped by patient.

    Args:
        strata: (p,) what each fold should hold in equal shares.
        folds: How many; at most as many as the smallest stratum that matters, see `check_size`.
        seed: Decides who falls where.

    Returns:
        (p,) int64 from 0 to folds - 1.
    """
    numbers = np.zeros(len(strata), np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    # A stratum smaller than the folds joins the largest one: scikit-learn would warn, and spread it as well.
    merged = _merge_rare(strata, folds)
    for number, (_, test) in enumerate(splitter.split(merged, merged)):
        numbers[test] = number
    return numbers


def inner_fold_count(strata: NDArray[np.int64], most: int = 3) -> int:
    """Folds of the inner loop: `most`, or as many as the rarest stratum allows, at least 2."""
    _, counts = np.unique(strata, return_counts=True)
    return max(2, min(most, int(counts.min())))


def _merge_rare(strata: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    values, counts = np.unique(strata, return_counts=True)
    merged = strata.copy()
    merged[np.isin(strata, values[counts < folds])] = values[np.argmax(counts)]
    return merged
