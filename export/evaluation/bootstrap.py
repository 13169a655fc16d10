"""How sure a figure is: patients drawn again and again, with all their patches.

Patches of one patient are alike, so a patient is what counts as one observation (a cluster bootstrap; Field and Welsh,
J. R. Stat. Soc. B 69, 2007). A gallery that was searched stays as it was: the intervals tell of other patients who ask,
not of another atlas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError

ROUNDS = 500
"""Times that the patients are drawn: the ends of a 95 % interval then rest on a dozen draws each."""

SEED = 20_260_501
"""Seed of the draws: the same cohort always gets the same intervals."""

CONFIDENCE = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: On the cohort as it is.
        low: Lower end of the 95 % interval; NaN where there is none.
        high: Upper end.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True, slots=True)
class Resamples:
    """Draws of p patients with replacement.

    Attributes:
        groups: (n,) int64, position of each patch's patient among the p.
        weights: (rounds, p) float64, how often a draw holds each patient; every row sums to p.
    """

    groups: NDArray[np.int64]
    weights: Floats

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self.weights.shape[1])

    def sums(self, values: Floats) -> Floats:
        """(p, …) sums of (n, …) values over each patient's patches."""
        total = np.zeros((self.patients, *values.shape[1:]))
        np.add.at(total, self.groups, values)
        return total

    def means(self, values: Floats) -> Floats:
        """(rounds, m) means of (n, m) values over the patches of each draw; NaN values are left out."""
        known = np.isfinite(values)
        total = self.weights @ self.sums(np.where(known, values, 0.0))
        count = self.weights @ self.sums(known.astype(np.float64))
        return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def draw_patients(patients: NDArray[np.str_], rounds: int = ROUNDS, seed: int = SEED) -> Resamples:
    """Draw as many patients as there are, with replacement, `rounds` times.

    Args:
        patients: (n,) whose patch each is.
        rounds: Number of draws.
        seed: Seed of the draws.

    Raises:
        CohortError: There is only one patient, who can't stand for others.
    """
    names, groups = np.unique(patients, return_inverse=True)
    if len(names) < 2:
        raise CohortError(
            "The cohort has one patient, and nothing can be said of other patients from one. Bring at least two."
        )
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rounds).astype(np.float64)
    return Resamples(np.asarray(groups, np.int64).ravel(), weights)


def estimate(value: float, draws: Floats) -> Estimate:
    """A figure with the percentile interval of (rounds,) draws of it; draws where it does not exist are left out."""
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(known) < len(draws) / 2 or not len(known):
        return Estimate(float(value))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return Estimate(float(value), float(low), float(high))


def estimate_means(values: Floats, resamples: Resamples) -> list[Estimate]:
    """The mean of each column of (n, m) values over the patches, with its interval; NaN values are left out."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    draws = resamples.means(values)
    return [estimate(float(mean[m]), draws[:, m]) for m in range(values.shape[1])]
