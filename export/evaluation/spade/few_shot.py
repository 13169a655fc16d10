"""Few-shot linear probes: how much of a label lies open in a representation when few items of it are known.

Every draw parts the patients: those who teach and those who test. All representations get the same draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from ...heads.scores import weighted_auroc
from ..bootstrap import Estimate, estimate
from .draws import DRAWS, Draw, Items, Unit, make_draws, make_items
from .spot_cohort import SPADE, SpotCohort
from .verdict import Gain

SHOTS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Items a class that teach."""

MAX_ITERATIONS: Final = 10_000
STRENGTH_PER_DIMENSION: Final = 2 / 100
"""The published probe: inverse penalty 0.02 × dimensions, 10,000 iterations (SPADE, 2506.21857, downstream)."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over draws.

    Attributes:
        mean: Mean.
        deviation: Sample standard deviation; NaN of one draw.
    """

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class FewShotScore:
    """One representation at one number of shots.

    Attributes:
        name: The representation.
        shots: Items a class.
        draws: Draws in which every class has so many.
        balanced: Balanced accuracy.
        auroc: Mean over the classes of one against the rest.
    """

    name: str
    shots: int
    draws: int
    balanced: Spread
    auroc: Spread


@dataclass(frozen=True, slots=True)
class FewShotGain:
    """The judged representation less a baseline at one number of shots.

    Attributes:
        shots: Items a class.
        balanced: Difference of the balanced accuracy; its interval holds 95 % of the draws.
        auroc: The same of the AUROC.
    """

    shots: int
    balanced: Gain
    auroc: Gain


@dataclass(frozen=True, slots=True)
class FewShotResult:
    """Few-shot probes of one label.

    Attributes:
        subject: The judged representation.
        label: What is told apart.
        unit: What an item is.
        classes: Class → items.
        patients: Patients of the items.
        dropped: Items that were left out.
        scores: Every representation at every number of shots that there are.
        gains: The judged representation less each baseline.
        learned_from: Representation → how many of the cohort's patients it has learned from.
    """

    subject: str
    label: str
    unit: Unit
    classes: Mapping[str, int]
    patients: int
    dropped: int
    scores: tuple[FewShotScore, ...]
    gains: tuple[FewShotGain, ...]
    learned_from: Mapping[str, int] = field(default_factory=dict)


def score_few_shot(
    cohort: SpotCohort,
    label: str,
    unit: Unit = "patches",
    subject: str = SPADE,
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
) -> FewShotResult:
    """Probe every representation with few items a class.

    Args:
        cohort: The spots.
        label: 'organ', or a clinical fact.
        unit: What an item is.
        subject: The judged representation.
        shots: Items a class.
        draws: Draws of patients and items.

    Raises:
        CohortError: Too few patients or classes.
        UsageError: There is no such representation.
    """
    baselines = cohort.baselines(subject)
    items = make_items(cohort, label, unit)
    drawn = make_draws(items.codes, items.patients, draws)
    found = {name: _probe(items, name, drawn, shots) for name in (subject, *baselines)}
    there = [count for count in shots if np.isfinite(found[subject][count]).any()]
    counts = np.bincount(items.codes, minlength=len(items.classes)).tolist()
    return FewShotResult(
        subject=subject,
        label=label,
        unit=unit,
        classes=dict(zip(items.classes, counts, strict=True)),
        patients=len(np.unique(items.patients)),
        dropped=items.dropped,
        scores=tuple(_score(name, count, figures[count]) for count in there for name, figures in found.items()),
        gains=tuple(
            _gain(name, count, found[subject][count] - found[name][count]) for count in there for name in baselines
        ),
        learned_from=cohort.taught,
    )


def fit_few(vectors: NDArray[np.floating], codes: NDArray[np.int64]) -> LogisticRegression:
    """The published probe on (n, d) standardised vectors."""
    model = LogisticRegression(C=STRENGTH_PER_DIMENSION * vectors.shape[1], max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(vectors, codes)


def _probe(items: Items, name: str, draws: Sequence[Draw], shots: Sequence[int]) -> dict[int, NDArray[np.float64]]:
    """Shots → (draws, 2) balanced accuracy and AUROC; NaN where a class has too few."""
    out = {count: np.full((len(draws), 2), np.nan) for count in shots}
    for number, draw in enumerate(draws):
        vectors = _standardised(items.vectors[name], np.concatenate(draw.queues))
        for count in shots:
            taught = draw.taught(count)
            if taught is not None:
                model = fit_few(vectors[taught], items.codes[taught])
                out[count][number] = _figures(model, vectors[draw.test], items.codes[draw.test])
    return out


def _standardised(vectors: NDArray[np.float32], teaching: NDArray[np.int64]) -> NDArray[np.float64]:
    """Vectors scaled by all items of the teaching patients, so that no representation profits from its scale."""
    values = vectors.astype(np.float64)
    deviation = values[teaching].std(axis=0)
    return np.asarray((values - values[teaching].mean(axis=0)) / np.where(deviation > 0, deviation, 1))


def _figures(model: LogisticRegression, vectors: NDArray[np.float64], codes: NDArray[np.int64]) -> tuple[float, float]:
    scores, every = model.predict_log_proba(vectors), np.ones((1, len(codes)))
    areas = [weighted_auroc(scores[:, c], codes == c, every)[0] for c in range(scores.shape[1])]
    return float(balanced_accuracy_score(codes, scores.argmax(axis=1))), float(np.mean(areas))


def _score(name: str, shots: int, figures: NDArray[np.float64]) -> FewShotScore:
    known = figures[np.isfinite(figures[:, 0])]
    deviations = known.std(axis=0, ddof=1) if len(known) > 1 else np.full(2, np.nan)
    spreads = [Spread(float(mean), float(sd)) for mean, sd in zip(known.mean(axis=0), deviations, strict=True)]
    return FewShotScore(name, shots, len(known), spreads[0], spreads[1])


def _gain(baseline: str, shots: int, differences: NDArray[np.float64]) -> FewShotGain:
    known = differences[np.isfinite(differences[:, 0])]
    balanced, auroc = (Gain(baseline, _over_draws(column)) for column in known.T)
    return FewShotGain(shots, balanced, auroc)


def _over_draws(values: NDArray[np.float64]) -> Estimate:
    """Mean over the draws, and where 95 % of them lie; one draw has no interval."""
    return estimate(float(values.mean()), values) if len(values) > 1 else Estimate(float(values.mean()))
