"""Would other weights, neighbours or temperatures do better? Chosen on one half of the patients, told on the other.

The best of many settings looks good by luck on the patients that chose it. So each half of the patients chooses, and
the choice is scored on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Neighbours
from haiku_edge.runtime.errors import CohortError
from haiku_edge.runtime.inference.retrieve import fuse

from .bootstrap import SEED, Resamples
from .correlation import pearson_draws
from .expression import Problem, Setting
from .galleries import make_barrier, search
from .imputation import impute

TEXT_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
NEIGHBOURS = (1, 5, 10, 20, 50)
TEMPERATURES = (1.0, 0.1, 0.03)
"""The grid. Cosines of neighbours differ by hundredths, so only a low temperature makes weights differ."""

MOST_QUERIES = 5_000
"""Patches that are asked for at most, drawn over all patients: enough to rank settings."""

LEAST_PATIENTS = 4
"""Patients that two halves need."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The sweep of a cohort, honest form, without the patient's own patches.

    Attributes:
        patients: Patients in both halves.
        patches: Their patches that were asked for.
        start: The setting to compare with.
        start_pearson: Mean Pearson correlation with it, mean of both halves.
        chosen: What each half chose.
        chosen_pearson: Mean Pearson correlation of the choice on the half that did not choose, mean of both.
        optimistic: The best setting's correlation on the very patients that chose it: what a sweep that is not nested
            would claim.
        profiles: Axis → (value, correlation) with the other two as in `start`, on all patients: to look at, not to
            choose by.
    """

    patients: int
    patches: int
    start: Setting
    start_pearson: float
    chosen: tuple[Setting, Setting]
    chosen_pearson: float
    optimistic: float
    profiles: Mapping[str, tuple[tuple[float, float], ...]]


def sweep_settings(problem: Problem, start: Setting | None = None) -> SweepResult:
    """Score the grid on both halves of the patients.

    Raises:
        CohortError: Fewer than four patients.
    """
    begin = start or Setting()
    rows = _sample(len(problem.cohort))
    patients = np.unique(problem.cohort.patients[rows])
    if len(patients) < LEAST_PATIENTS:
        raise CohortError(
            f"The cohort has {len(patients)} patients; choosing on one half and telling on the other takes "
            f"{LEAST_PATIENTS}."
        )
    second = np.random.default_rng(SEED).permutation(len(patients))[: len(patients) // 2]
    half = np.isin(problem.cohort.patients[rows], patients[second]).astype(int)
    scores = _score_grid(problem, rows, half, begin)
    best = [max(scores, key=lambda setting: _nan_last(scores[setting][side])) for side in (0, 1)]
    return SweepResult(
        patients=len(patients),
        patches=len(rows),
        start=begin,
        start_pearson=float(np.mean(scores[begin][:2])),
        chosen=(best[0], best[1]),
        chosen_pearson=float(np.mean([scores[best[0]][1], scores[best[1]][0]])),
        optimistic=float(np.mean([scores[best[0]][0], scores[best[1]][1]])),
        profiles={
            "text_weight": _profile(scores, begin, "text_weight"),
            "neighbours": _profile(scores, begin, "neighbours"),
            "temperature": _profile(scores, begin, "temperature"),
        },
    )


def _score_grid(
    problem: Problem, rows: NDArray[np.int64], half: NDArray[np.int64], begin: Setting
) -> dict[Setting, tuple[float, float, float]]:
    """Setting → mean correlation on the first half, the second, and all."""
    grid = [Setting(*values) for values in product(TEXT_WEIGHTS, NEIGHBOURS, TEMPERATURES)]
    grid = [begin, *(setting for setting in grid if setting != begin)]
    cohort = problem.cohort.select(rows)
    barrier = make_barrier(cohort, problem.gallery, problem.strictest)
    truth = problem.truth[rows]
    scores = {}
    for weight in sorted({setting.text_weight for setting in grid}):
        own = [setting for setting in grid if setting.text_weight == weight]
        queries = fuse(cohort.vectors["he"], cohort.vectors.get("text"), weight)
        found = search(queries, problem.gallery.vectors, max(setting.neighbours for setting in own), barrier)
        for setting in own:
            k = setting.neighbours
            nearest = Neighbours(found.ids[:, :k], found.scores[:, :k])
            inferred = impute(problem.gallery.z, nearest, "honest", setting.temperature)
            sides = [_mean(inferred[half == side], truth[half == side]) for side in (0, 1)]
            scores[setting] = (sides[0], sides[1], _mean(inferred, truth))
    return scores


def _mean(inferred: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Mean over the markers of Pearson's correlation."""
    alone = Resamples(np.zeros(len(truth), np.int64), np.zeros((0, 1)))
    values = pearson_draws(inferred, truth, alone)[0]
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _profile(
    scores: Mapping[Setting, tuple[float, float, float]], begin: Setting, axis: str
) -> tuple[tuple[float, float], ...]:
    """The settings that differ from `begin` in one axis alone, in its order."""
    others = [name for name in ("text_weight", "neighbours", "temperature") if name != axis]
    alike = [setting for setting in scores if all(getattr(setting, n) == getattr(begin, n) for n in others)]
    return tuple(sorted((float(getattr(setting, axis)), scores[setting][2]) for setting in alike))


def _sample(count: int) -> NDArray[np.int64]:
    if count <= MOST_QUERIES:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, MOST_QUERIES, replace=False))


def _nan_last(value: float) -> float:
    return value if np.isfinite(value) else -np.inf
