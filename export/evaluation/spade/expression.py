"""Expression prediction by retrieval: what a representation says of the genes of a patient who is not in the atlas.

Pearson per gene over all spots tells of organs, patients and places at once; inside sections it tells of places alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Neighbours
from haiku_edge.runtime.errors import CohortError

from ..bootstrap import ROUNDS, Estimate, Resamples, draw_patients, estimate
from ..correlation import LEAST, pearson_draws
from .retrieval import KEYS, Keys, Search, find_neighbours, infer, organ_means
from .spot_cohort import SPADE, SpotCohort
from .verdict import Gain

ORGAN_MEAN = "mean of the organ"
PROFILE = (1, 5, 20, 50)
"""Numbers of neighbours that the profile shows, to see that the verdict does not hang on one of them."""

_GENES_AT_ONCE = 64

Measure = Literal["over all spots", "inside sections"]
MEASURES: Final[tuple[Measure, ...]] = ("over all spots", "inside sections")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExpressionScore:
    """One way of predicting expression.

    Attributes:
        name: Representation or baseline.
        keys: What was searched; None for a baseline without search and for the ceiling.
        pearson: Mean over the genes of the correlation over all spots.
        within: Mean over the genes of the correlation inside a section, mean over the sections.
        error: Root mean squared error over spots and genes, log-normalised.
        genes: (g,) correlation of each gene over all spots; NaN where prediction or gene is constant.
    """

    name: str
    keys: Keys | None
    pearson: Estimate
    within: Estimate
    error: float
    genes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ExpressionGain:
    """The judged representation less a baseline.

    Attributes:
        keys: What was searched by the judged one.
        measure: Which correlation.
        gain: The difference of its mean over the genes.
    """

    keys: Keys
    measure: Measure
    gain: Gain


@dataclass(frozen=True, slots=True)
class ExpressionResult:
    """Expression prediction on a cohort, leave-patient-out.

    Attributes:
        subject: The judged representation.
        patients: Patients.
        sections: Their sections.
        spots: Their spots.
        genes: Names of the genes.
        compared: Genes in the means: those that vary, and that every representation predicts as varying.
        search: How neighbours are found.
        scores: Every representation under every kind of keys that it has, then the mean of the organ.
        ceiling: What the simulator's truth itself reaches; None for real tissue.
        gains: The judged representation less each baseline.
        profile: Representation → neighbours → mean Pearson over all spots, searching pictures.
        learned_from: Representation → how many of the cohort's patients it has learned from.
    """

    subject: str
    patients: int
    sections: int
    spots: int
    genes: tuple[str, ...]
    compared: int
    search: Search
    scores: tuple[ExpressionScore, ...]
    ceiling: ExpressionScore | None
    gains: tuple[ExpressionGain, ...]
    profile: Mapping[str, Mapping[int, float]]
    learned_from: Mapping[str, int] = field(default_factory=dict)

    def score(self, name: str, keys: Keys | None = "image") -> ExpressionScore:
        """One of the scores."""
        return next(score for score in self.scores if (score.name, score.keys) == (name, keys))

    def gains_of(self, keys: Keys, measure: Measure) -> tuple[Gain, ...]:
        """The gains over the baselines in one figure."""
        return tuple(one.gain for one in self.gains if (one.keys, one.measure) == (keys, measure))


@dataclass(frozen=True, slots=True)
class Correlations:
    """Correlations of one prediction.

    Attributes:
        spots: (1 + rounds, g) over all spots: as they are, then in each draw of patients.
        sections: (s, g) inside each section.
        error: Root mean squared error.
    """

    spots: Floats
    sections: Floats
    error: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What predictions are compared with.

    Attributes:
        cohort: The spots.
        resamples: Draws of their patients.
        of_sections: The same draws, for rows that are sections.
    """

    cohort: SpotCohort
    resamples: Resamples
    of_sections: Resamples

    def correlate(self, predicted: NDArray[np.float32]) -> Correlations:
        """Compare (n, g) predictions with the measured expression."""
        measured, codes = self.cohort.expression, self.cohort.section_codes
        spots = _by_gene(predicted, measured, self.resamples)
        inside = []
        for code in range(len(self.of_sections.groups)):
            own = codes == code
            alone = Resamples(np.zeros(int(own.sum()), np.int64), np.zeros((0, 1)))
            inside.append(_by_gene(predicted[own], measured[own], alone)[0])
        square = (predicted.astype(np.float64) - measured) ** 2
        return Correlations(spots, np.stack(inside), float(np.sqrt(np.nanmean(square))))

    def means(self, found: Correlations, genes: NDArray[np.bool_]) -> dict[Measure, Floats]:
        """(1 + rounds,) mean over the genes, over all spots and inside sections."""
        inside = _mean(found.sections[:, genes])[:, None]
        now = _mean(inside.T)
        return {
            "over all spots": _mean(found.spots[:, genes]),
            "inside sections": np.concatenate([now, self.of_sections.means(inside)[:, 0]]),
        }


def pose_truth(cohort: SpotCohort, rounds: int = ROUNDS) -> Truth:
    """Draw the patients of a cohort.

    Raises:
        CohortError: There is one patient, or fewer spots than a correlation needs.
    """
    if len(cohort) < LEAST:
        raise CohortError(f"The cohort has {len(cohort)} spots, too few for a correlation. Bring more.")
    resamples = draw_patients(cohort.patients, rounds)
    _, first = np.unique(cohort.section_codes, return_index=True)
    return Truth(cohort, resamples, Resamples(resamples.groups[first], resamples.weights))


def score_expression(cohort: SpotCohort, subject: str = SPADE, search: Search | None = None) -> ExpressionResult:
    """Predict every spot from other patients' by every representation, and compare.

    Args:
        cohort: The spots.
        subject: The judged representation.
        search: How neighbours are found; None for the defaults.

    Raises:
        CohortError: One patient, or no gene that varies.
        UsageError: There is no such representation.
    """
    chosen, truth = search or Search(), pose_truth(cohort)
    found = _find_all(cohort, subject, max(chosen.neighbours, *PROFILE))
    correlated = {
        setting: truth.correlate(infer(cohort, _first(near, chosen.neighbours), chosen.temperature))
        for setting, near in found.items()
    }
    genes, organ = _compared(correlated.values()), truth.correlate(organ_means(cohort))
    scores = [_score(truth, name, keys, one, genes) for (name, keys), one in correlated.items()]
    return ExpressionResult(
        subject=subject,
        patients=truth.resamples.patients,
        sections=len(truth.of_sections.groups),
        spots=len(cohort),
        genes=cohort.genes,
        compared=int(genes.sum()),
        search=chosen,
        scores=(*scores, _score(truth, ORGAN_MEAN, None, organ, genes)),
        ceiling=_ceiling(truth, genes),
        gains=tuple(_gains(truth, subject, {**correlated, (ORGAN_MEAN, "image"): organ}, genes)),
        profile=_profiles(truth, found, chosen.temperature, genes),
        learned_from=cohort.taught,
    )


def _find_all(cohort: SpotCohort, subject: str, neighbours: int) -> dict[tuple[str, Keys], Neighbours]:
    """The neighbours by every representation under every kind of keys that it has."""
    names = (subject, *cohort.baselines(subject), *cohort.variants(subject))
    settings = [(name, keys) for keys in KEYS for name in names if keys == "image" or name in cohort.keys]
    return {(name, keys): find_neighbours(cohort, name, neighbours, keys) for name, keys in settings}


def _ceiling(truth: Truth, genes: NDArray[np.bool_]) -> ExpressionScore | None:
    expected = truth.cohort.expected
    return None if expected is None else _score(truth, "truth", None, truth.correlate(expected), genes)


def _profiles(
    truth: Truth, found: Mapping[tuple[str, Keys], Neighbours], temperature: float, genes: NDArray[np.bool_]
) -> dict[str, dict[int, float]]:
    """Representation → neighbours → mean Pearson over all spots, for numbers of neighbours that other patients have."""
    _, counts = np.unique(truth.cohort.patients, return_counts=True)
    sizes = [k for k in PROFILE if k <= len(truth.cohort) - int(counts.max())]
    return {
        name: {k: _profiled(truth, _first(near, k), temperature, genes) for k in sizes}
        for (name, keys), near in found.items()
        if keys == "image"
    }


def _first(near: Neighbours, k: int) -> Neighbours:
    return Neighbours(near.ids[:, :k], near.scores[:, :k])


def _profiled(truth: Truth, near: Neighbours, temperature: float, genes: NDArray[np.bool_]) -> float:
    predicted = infer(truth.cohort, near, temperature)
    alone = Resamples(np.zeros(len(predicted), np.int64), np.zeros((0, 1)))
    return float(_mean(_by_gene(predicted[:, genes], truth.cohort.expression[:, genes], alone))[0])


def _compared(found: Iterable[Correlations]) -> NDArray[np.bool_]:
    """(g,) genes that have a correlation everywhere.

    Raises:
        CohortError: There is none.
    """
    known = np.all([np.isfinite(one.spots[0]) for one in found], axis=0)
    if not known.any():
        raise CohortError("No gene of the cohort varies over its spots, so nothing can be predicted. Check the counts.")
    return np.asarray(known)


def _score(
    truth: Truth, name: str, keys: Keys | None, found: Correlations, genes: NDArray[np.bool_]
) -> ExpressionScore:
    means = truth.means(found, genes)
    spots, inside = (estimate(float(draws[0]), draws[1:]) for draws in means.values())
    return ExpressionScore(name, keys, spots, inside, found.error, tuple(found.spots[0].tolist()))


def _gains(
    truth: Truth, subject: str, found: Mapping[tuple[str, Keys], Correlations], genes: NDArray[np.bool_]
) -> list[ExpressionGain]:
    """The judged representation less each baseline under the same keys, or the pictures' where it has no others."""
    # The mean of the only organ correlates negatively by construction, and any organ's is constant inside a section.
    trivial = (ORGAN_MEAN,) if len(np.unique(truth.cohort.organs)) > 1 else ()
    baselines = (*truth.cohort.baselines(subject), *trivial)
    out = []
    for keys in KEYS:
        if (subject, keys) not in found:
            continue
        own = truth.means(found[subject, keys], genes)
        for name in baselines:
            other = found[name, keys] if (name, keys) in found else found[name, "image"]
            means = truth.means(other, genes)
            for measure, draws in own.items():
                difference = draws - means[measure]
                if np.isfinite(difference[0]):
                    gain = Gain(name, estimate(float(difference[0]), difference[1:]))
                    out.append(ExpressionGain(keys, measure, gain))
    return out


def _by_gene(first: NDArray[np.float32], second: NDArray[np.float32], resamples: Resamples) -> Floats:
    """`pearson_draws` a few genes at a time, so that memory stays flat."""
    parts = range(0, first.shape[1], _GENES_AT_ONCE)
    return np.concatenate(
        [pearson_draws(first[:, i : i + _GENES_AT_ONCE], second[:, i : i + _GENES_AT_ONCE], resamples) for i in parts],
        axis=1,
    )


def _mean(values: Floats) -> Floats:
    """(r,) means of the rows of (r, m) values without the NaN; NaN where a row has nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
