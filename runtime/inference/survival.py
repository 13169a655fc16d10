"""Survival of a reference cohort along one risk score: Cox's slope, Breslow's baseline, and a new case among them.

Cox's partial likelihood and Breslow's estimator with Breslow's treatment of ties (Breslow, 1974, Covariance analysis of
censored survival data); intervals by resampling patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 300
"""Resampled cohorts: the ends of a 90 % interval then rest on fifteen of them each."""

_STEPS = 50
_TOLERANCE = 1e-9
_LARGEST_SLOPE = 20.0


@dataclass(frozen=True, slots=True)
class Cohort:
    """Follow-up of n patients.

    Attributes:
        score: (n,) float64, higher is worse.
        months: (n,) float64, until the event or until the patient was last seen.
        event: (n,) bool, whether the event happened.
    """

    score: NDArray[np.float64]
    months: NDArray[np.float64]
    event: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> Cohort:
        """The patients of these rows, as often as they are named."""
        return Cohort(self.score[rows], self.months[rows], self.event[rows])


@dataclass(frozen=True, slots=True)
class CoxModel:
    """Cumulative hazard H(t | s) = H0(t) · exp(slope · (s - centre)).

    Attributes:
        slope: Log hazard ratio a unit of score.
        centre: Mean score of the cohort.
        times: (k,) float64 ascending event times, months.
        hazard: (k,) float64 cumulative baseline hazard at them.
    """

    slope: float
    centre: float
    times: NDArray[np.float64]
    hazard: NDArray[np.float64]

    def survival(self, score: float, months: float) -> float:
        """Probability of no event until `months`, 0 to 1."""
        reached = int(np.searchsorted(self.times, months, side="right"))
        hazard = self.hazard[reached - 1] if reached else 0.0
        return float(np.exp(-hazard * np.exp(self.slope * (score - self.centre))))


def fit_cox(cohort: Cohort) -> CoxModel:
    """Fit slope and baseline; without any event, the slope is 0 and the hazard nothing."""
    centre = float(cohort.score.mean())
    order = np.argsort(-cohort.months, kind="stable")
    ordered = Cohort(cohort.score[order] - centre, cohort.months[order], cohort.event[order])
    slope = _slope(ordered)
    return CoxModel(slope, centre, *_breslow(ordered, slope))


def _slope(cohort: Cohort) -> float:
    """Newton's method on the partial likelihood; patients come latest first, so that a risk set is a beginning."""
    if not cohort.event.any() or np.ptp(cohort.score) == 0:
        return 0.0
    last = _risk_sets(cohort.months)[cohort.event]
    observed = float(cohort.score[cohort.event].sum())
    slope = 0.0
    for _ in range(_STEPS):
        mean, variance = _moments(cohort.score, slope, last)
        if variance.sum() <= 0:
            break
        # A step is bounded: separation would send it to infinity.
        step = float(np.clip((observed - mean.sum()) / variance.sum(), -1, 1))
        slope = float(np.clip(slope + step, -_LARGEST_SLOPE, _LARGEST_SLOPE))
        if abs(step) < _TOLERANCE:
            break
    return slope


def _moments(
    score: NDArray[np.float64], slope: float, last: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of the score in each event's risk set, weighted by the hazard."""
    weight = np.exp(slope * score - np.max(slope * score))
    zero, one, two = (np.cumsum(weight * score**power)[last] for power in (0, 1, 2))
    mean = one / zero
    return mean, np.maximum(two / zero - mean**2, 0)


def _risk_sets(months: NDArray[np.float64]) -> NDArray[np.int64]:
    """Position of the last patient who is at risk when each one's time comes; `months` descend."""
    return np.searchsorted(-months, -months, side="right") - 1


def _breslow(cohort: Cohort, slope: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at_risk = np.cumsum(np.exp(slope * cohort.score))[_risk_sets(cohort.months)]
    times, where = np.unique(cohort.months[cohort.event], return_inverse=True)
    steps = np.zeros(len(times))
    np.add.at(steps, where, 1 / at_risk[cohort.event])
    return times, np.cumsum(steps)


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


def survival_at(
    cohort: Cohort, score: float, months: tuple[float, ...], coverage: float, *, seed: int = 0
) -> tuple[Bounded, ...]:
    """Survival of a new case at some times, with percentile intervals over resampled patients.

    The interval tells how well this cohort fixes the curve; it does not hold the uncertainty of the score itself.
    """
    whole, rng = fit_cox(cohort), np.random.default_rng(seed)
    size = len(cohort.score)
    drawn = [fit_cox(cohort.take(rng.integers(0, size, size))) for _ in range(RESAMPLES)]
    out = []
    for month in months:
        spread = [model.survival(score, month) for model in drawn]
        out.append(Bounded(whole.survival(score, month), *ends(np.array(spread), coverage)))
    return tuple(out)


def mid_percentile(reference: NDArray[np.float64], score: float) -> float:
    """Share (0 to 100) of the reference below the score, those equal to it counted half."""
    below, equal = (reference < score).mean(), (reference == score).mean()
    return float(100 * (below + equal / 2))


def ends(values: NDArray[np.float64], coverage: float) -> tuple[float, float]:
    """The quantiles that leave equal shares outside."""
    tail = (1 - coverage) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)
