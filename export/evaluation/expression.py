"""Biomarker inference, scored: the published form and the honest one, each under the four galleries.

Source: Haiku, 2605.00925, zero-shot biomarker inference. The published gallery holds the very patch that is asked for
and those that overlap it; what is left of the score without the patch, its region and its patient says how much of it
was finding oneself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Neighbours
from haiku_edge.runtime.errors import CohortError, UsageError
from haiku_edge.runtime.inference.retrieve import fuse

from .bootstrap import ROUNDS, Estimate, Resamples, draw_patients, estimate
from .correlation import pearson_draws, spearman_draws
from .embedded_cohort import EmbeddedCohort
from .galleries import LEAVES, Gallery, Leave, make_barrier, places_known, search
from .imputation import FORMS, NEIGHBOURS, TEMPERATURE, TEXT_WEIGHT, Form, impute
from .labels import tissue_names

PRESENCE = 0.8
"""The published code keeps the markers that more than this share of the gallery's patches measured."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Setting:
    """How neighbours are found and weighted.

    Attributes:
        text_weight: Weight of the notes, 0 to 1.
        neighbours: k.
        temperature: Of the softmax over their similarities.
    """

    text_weight: float = TEXT_WEIGHT
    neighbours: int = NEIGHBOURS
    temperature: float = TEMPERATURE


@dataclass(frozen=True, slots=True)
class MarkerEstimate:
    """One marker.

    Attributes:
        marker: Its name.
        patches: Patches that measured it and have an inference.
        kept: Whether the published code would keep it: measured by more than `PRESENCE` of the gallery.
        pearson: Correlation of inferred and measured expression over the patches.
        spearman: The same of their ranks.
    """

    marker: str
    patches: int
    kept: bool
    pearson: Estimate
    spearman: Estimate


@dataclass(frozen=True, slots=True)
class InferenceScore:
    """One way of inferring.

    Attributes:
        name: 'published', 'honest', or the baseline's name.
        leave: What is left out of each patch's gallery.
        markers: One estimate a marker; the published form has the kept markers alone.
        pearson: Mean over the kept markers.
        spearman: Mean over the kept markers.
        all_pearson: Mean over all markers that `markers` holds.
        region_pearson: Mean over regions and kept markers of the correlation inside one region.
        error: Mean over the kept markers of the root mean squared error, in standard deviations of the gallery.
    """

    name: str
    leave: Leave
    markers: tuple[MarkerEstimate, ...]
    pearson: Estimate
    spearman: Estimate
    all_pearson: Estimate
    region_pearson: float
    error: float


@dataclass(frozen=True, slots=True)
class Problem:
    """A cohort that asks a gallery, with the truth.

    Attributes:
        cohort: The patches that ask.
        gallery: The patches that answer; its markers are the ones that both have.
        truth: (n, m) measured expression in standard deviations of the gallery, NaN where not measured.
        kept: (m,) bool, whether the published code keeps the marker.
        resamples: Draws of the cohort's patients.
    """

    cohort: EmbeddedCohort
    gallery: Gallery
    truth: NDArray[np.float32]
    kept: NDArray[np.bool_]
    resamples: Resamples

    @property
    def shared(self) -> bool:
        """Whether a patient is in both; if not, the four galleries are one."""
        return bool(np.isin(self.cohort.patients, self.gallery.patients).any())

    @property
    def leaves(self) -> tuple[Leave, ...]:
        """The galleries that differ."""
        return LEAVES if self.shared else ("nothing",)

    @property
    def strictest(self) -> Leave:
        """The gallery without the patient."""
        return self.leaves[-1]

    def find(self, text_weight: float, neighbours: int, leave: Leave) -> Neighbours:
        """The neighbours of every patch."""
        queries = fuse(self.cohort.vectors["he"], self.cohort.vectors.get("text"), text_weight)
        barrier = make_barrier(self.cohort, self.gallery, leave)
        return search(queries, self.gallery.vectors, neighbours, barrier)


@dataclass(frozen=True, slots=True)
class BiomarkerResult:
    """Biomarker inference on a cohort.

    Attributes:
        patients: Patients who ask.
        patches: Their patches.
        gallery_patches: Patches that answer.
        setting: How neighbours are found.
        shared: Whether a patient is on both sides; if not, there is one gallery.
        places_known: Whether overlapping patches could be left out; if not, leaving the patch out leaves out it alone.
        regions: Regions of these patients.
        forms: Both forms under each gallery.
        baselines: What less would do, under the strictest gallery.
    """

    patients: int
    patches: int
    gallery_patches: int
    setting: Setting
    shared: bool
    places_known: bool
    regions: int
    forms: tuple[InferenceScore, ...]
    baselines: tuple[InferenceScore, ...]

    @property
    def regions_are_patients(self) -> bool:
        """Whether every patient has one region, so that leaving either out is the same."""
        return self.regions == self.patients

    def form(self, name: Form, leave: Leave) -> InferenceScore:
        """One of the forms."""
        return next(score for score in self.forms if (score.name, score.leave) == (name, leave))


def pose_problem(cohort: EmbeddedCohort, gallery: Gallery, *, rounds: int = ROUNDS) -> Problem:
    """Bring a cohort and a gallery together on the markers that both have.

    Raises:
        CohortError: One patient alone, no H&E vectors, or no marker that both measured.
        UsageError: Another bundle embedded the cohort.
    """
    if "he" not in cohort.vectors:
        raise CohortError("The cohort has no H&E vectors, and biomarkers are inferred from H&E. Embed it with its H&E.")
    if cohort.vectors["he"].shape[1] != gallery.vectors.shape[1]:
        raise UsageError(
            f"The cohort's vectors have {cohort.vectors['he'].shape[1]} dimensions, the gallery's "
            f"{gallery.vectors.shape[1]}. Name the bundle that embedded the cohort with --bundle."
        )
    measured = {name for m, name in enumerate(cohort.markers) if np.isfinite(cohort.expression[:, m]).any()}
    markers = [m for m, name in enumerate(gallery.markers) if name in measured and np.isfinite(gallery.z[:, m]).any()]
    if not markers:
        raise CohortError("The cohort measured no marker that the gallery has, so nothing can be compared.")
    chosen = gallery.with_markers(markers)
    own = [cohort.markers.index(name) for name in chosen.markers]
    truth = (cohort.expression[:, own] - chosen.mean) / chosen.std
    kept = np.isfinite(chosen.z).mean(axis=0) > PRESENCE
    return Problem(cohort, chosen, truth.astype(np.float32), kept, draw_patients(cohort.patients, rounds))


def score_biomarkers(problem: Problem, setting: Setting | None = None) -> BiomarkerResult:
    """Infer every patch of the cohort in both forms under each gallery, and by less.

    Args:
        problem: Cohort and gallery.
        setting: How neighbours are found; None takes the published setting.
    """
    chosen = setting or Setting()
    cohort, forms = problem.cohort, []
    for leave in problem.leaves:
        found = problem.find(chosen.text_weight, chosen.neighbours, leave)
        for form in FORMS:
            inferred = impute(problem.gallery.z, found, form, chosen.temperature)
            forms.append(score_inference(problem, form, leave, inferred))
    return BiomarkerResult(
        patients=problem.resamples.patients,
        patches=len(cohort),
        gallery_patches=len(problem.gallery),
        setting=chosen,
        shared=problem.shared,
        places_known=places_known(cohort),
        regions=len(np.unique(_own_regions(cohort))),
        forms=tuple(forms),
        baselines=tuple(_baselines(problem, chosen)),
    )


def score_inference(problem: Problem, name: str, leave: Leave, inferred: NDArray[np.float32]) -> InferenceScore:
    """Compare (n, m) inferred expression with the truth."""
    columns = np.flatnonzero(problem.kept) if name == "published" else np.arange(len(problem.kept))
    first, second, kept = inferred[:, columns], problem.truth[:, columns], problem.kept[columns]
    linear = pearson_draws(first, second, problem.resamples)
    ranked = spearman_draws(first, second, problem.resamples)
    counts = (np.isfinite(first) & np.isfinite(second)).sum(axis=0)
    markers = [
        MarkerEstimate(
            problem.gallery.markers[column],
            int(counts[m]),
            bool(kept[m]),
            estimate(float(linear[0, m]), linear[1:, m]),
            estimate(float(ranked[0, m]), ranked[1:, m]),
        )
        for m, column in enumerate(columns.tolist())
    ]
    return InferenceScore(
        name=name,
        leave=leave,
        markers=tuple(markers),
        pearson=_mean(linear[:, kept]),
        spearman=_mean(ranked[:, kept]),
        all_pearson=_mean(linear),
        region_pearson=_within(first[:, kept], second[:, kept], _own_regions(problem.cohort)),
        error=_error(first[:, kept], second[:, kept]),
    )


def _baselines(problem: Problem, setting: Setting) -> list[InferenceScore]:
    """H&E alone, notes alone, the mean of the same tissue, the mean of all; honest, under the strictest gallery."""
    leave, gallery = problem.strictest, problem.gallery
    weights = {"H&E alone": 0.0, "notes alone": 1.0} if "text" in problem.cohort.vectors else {}
    out = []
    for name, weight in weights.items():
        found = problem.find(weight, setting.neighbours, leave)
        inferred = impute(gallery.z, found, "honest", setting.temperature)
        out.append(score_inference(problem, name, leave, inferred))
    tissues = tissue_names(problem.cohort)
    if (gallery.tissues != "").any() and (tissues != "").any():
        inferred = group_means(problem, tissues, gallery.tissues)
        out.append(score_inference(problem, "mean of the tissue", leave, inferred))
    nobody = np.full(len(problem.cohort), "all"), np.full(len(gallery), "all")
    out.append(score_inference(problem, "mean of the gallery", leave, group_means(problem, *nobody)))
    return out


def group_means(problem: Problem, asking: NDArray[np.str_], held: NDArray[np.str_]) -> NDArray[np.float32]:
    """(n, m) mean expression over the gallery's patches of the same group, without the patient's own.

    Args:
        problem: Cohort and gallery.
        asking: (n,) group of each patch of the cohort; '' has no mean.
        held: (N,) group of each patch of the gallery.
    """
    z = problem.gallery.z.astype(np.float64)
    known = np.isfinite(z)
    values = np.where(known, z, 0.0)
    out = np.full((len(asking), z.shape[1]), np.nan, np.float32)
    for group in (name for name in np.unique(asking).tolist() if name):
        of_group = held == group
        total, count = values[of_group].sum(axis=0), known[of_group].sum(axis=0)
        for patient in np.unique(problem.cohort.patients[asking == group]):
            own = of_group & (problem.gallery.patients == patient)
            others = count - known[own].sum(axis=0)
            rest = total - values[own].sum(axis=0)
            mean = np.divide(rest, others, out=np.full(z.shape[1], np.nan), where=others > 0)
            out[(asking == group) & (problem.cohort.patients == patient)] = mean
    return out


def _mean(draws: Floats) -> Estimate:
    """Mean over markers of (1 + rounds, m) correlations: as they are, with the interval of the draws."""
    known = np.isfinite(draws)
    count = known.sum(axis=1)
    total = np.where(known, draws, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return estimate(float(mean[0]), mean[1:])


def _own_regions(cohort: EmbeddedCohort) -> NDArray[np.int64]:
    """(n,) number of each patch's region: regions of two patients are two, whatever they are called."""
    region, patient = (np.unique(names, return_inverse=True)[1].ravel() for names in (cohort.regions, cohort.patients))
    return np.asarray(patient * (int(region.max(initial=0)) + 1) + region, np.int64)


def _within(inferred: NDArray[np.float32], truth: NDArray[np.float32], regions: NDArray[np.int64]) -> float:
    """Mean over regions and markers of the correlation inside a region."""
    values = []
    for region in np.unique(regions):
        own = regions == region
        alone = Resamples(np.zeros(int(own.sum()), np.int64), np.zeros((0, 1)))
        values.append(pearson_draws(inferred[own], truth[own], alone)[0])
    known = np.concatenate(values)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def _error(inferred: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Mean over markers of the root mean squared error."""
    square = (inferred.astype(np.float64) - truth) ** 2
    known = np.isfinite(square)
    count = known.sum(axis=0)
    roots = np.sqrt(np.where(known, square, 0).sum(axis=0)[count > 0] / count[count > 0])
    return float(roots.mean()) if len(roots) else float("nan")
