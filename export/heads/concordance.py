"""Does the higher risk die earlier? Harrell's C-index and the time-dependent AUROC, with intervals by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.bootstrap import Estimate
from .scores import first_of, resample_patients, weighted_auroc
from .targets import SurvivalTarget


@dataclass(frozen=True, slots=True)
class RiskScores:
    """How well a risk orders patients.

    Attributes:
        concordance: Harrell's C-index over all comparable pairs; 0.5 is chance.
        against: The same less that of the reference model, on the same bootstrap samples; None for the reference.
        auroc: Months → cumulative/dynamic AUROC at that time, weighted for censoring.
    """

    concordance: Estimate
    against: Estimate | None
    auroc: dict[float, Estimate]


def score_risk(
    risk: NDArray[np.float64],
    target: SurvivalTarget,
    reference: NDArray[np.float64] | None = None,
    times: tuple[float, ...] = (),
) -> RiskScores:
    """Score a risk.

    Args:
        risk: (p,), higher is worse.
        target: Times and events of the same patients.
        reference: (p,) risk of another model to compare with.
        times: Months at which the time-dependent AUROC is taken.
    """
    weights = resample_patients(np.arange(len(risk)))
    own = concordance(risk, target, weights)
    other = None if reference is None else first_of(own - concordance(reference, target, weights))
    areas = {month: first_of(dynamic_auroc(risk, target, month, weights)) for month in times}
    return RiskScores(first_of(own), other, areas)


def concordance(
    risk: NDArray[np.float64], target: SurvivalTarget, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Harrell's C-index under several weightings of the patients (Harrell and others, JAMA 1982).

    A pair counts where the one with the earlier time had the event (or times are equal and only one had it). Equal
    risks count half.

    Args:
        risk: (p,), higher is worse.
        target: Times and events.
        weights: (b, p), how often each patient counts; None for everyone once.

    Returns:
        (b,); NaN where no pair counts.
    """
    weights = np.ones((1, len(risk))) if weights is None else weights
    earlier = target.months[:, None] < target.months[None, :]
    same = (target.months[:, None] == target.months[None, :]) & ~target.events[None, :]
    counts = (target.events[:, None] & (earlier | same)).astype(np.float64)
    right = counts * ((risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :]))
    pairs, good = (np.einsum("bi,bi->b", weights @ matrix, weights) for matrix in (counts, right))
    return np.asarray(np.divide(good, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def dynamic_auroc(
    risk: NDArray[np.float64], target: SurvivalTarget, month: float, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cumulative/dynamic AUROC at one time: those dead by then against those alive after it.

    The dead count by one over the probability of not being censored before their death (Uno and others, JASA 2007).
    Each weighting estimates that probability from its own patients, so that an interval holds its uncertainty too.

    Args:
        risk: (p,), higher is worse.
        target: Times and events.
        month: The time.
        weights: (b, p), how often each patient counts.

    Returns:
        (b,); NaN where one of the groups is empty.
    """
    dead, alive = target.events & (target.months <= month), target.months > month
    use = dead | alive
    if not dead.any() or not alive.any():
        return np.full(len(weights), np.nan)
    stays = np.where(dead, _uncensored_before(target, weights), 1.0)
    # Whom a draw does not hold counts 0, even where all who were at risk had been censored before.
    counts = np.divide(weights, stays, out=np.zeros_like(stays), where=stays > 0)
    return weighted_auroc(risk[use], dead[use], counts[:, use])


def _uncensored_before(target: SurvivalTarget, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, p) Kaplan-Meier estimates of not being censored just before each patient's time, one for each weighting."""
    times = np.unique(target.months)
    here = target.months[:, None] == times
    at_risk = weights @ (target.months[:, None] >= times).astype(np.float64)
    censored, died = (weights @ (here & kind[:, None]).astype(np.float64) for kind in (~target.events, target.events))
    # The dead of a time leave before the censored of it.
    left = at_risk - died
    lost = np.divide(censored, left, out=np.zeros_like(left), where=left > 0)
    before = np.hstack([np.ones((len(weights), 1)), np.cumprod(1 - lost, axis=1)[:, :-1]])
    return np.asarray(before[:, np.searchsorted(times, target.months)])
