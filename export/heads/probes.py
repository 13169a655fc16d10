"""Linear probes: how much of a fact lies open in the vectors, without any further network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ..evaluation.embedded_cohort import EmbeddedCohort
from .bags import make_bags
from .features import available_features, reads_notes
from .folds import fold_numbers, inner_fold_count
from .nested import Say, quiet
from .scores import ClassScores, score_classes
from .targets import ClassTarget, check_size, read_classes

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse penalties among which the inner loop chooses (Haiku, 2605.00925, linear probes)."""


@dataclass(frozen=True, slots=True)
class ProbeModel:
    """The probe of one kind of vector.

    Attributes:
        name: The vectors.
        patches: Scores over patches, with intervals by patient.
        patients: Scores over patients: the mean of their patches' log-probabilities.
        leaking: Scores over patches as published, with patches of one patient on both sides; None where not asked for.
        strengths: Inverse penalty chosen in each outer fold.
        reads_notes: Whether the vectors were made from the notes, which may state the class.
    """

    name: str
    patches: ClassScores
    patients: ClassScores
    leaking: ClassScores | None
    strengths: tuple[float, ...]
    reads_notes: bool


@dataclass(frozen=True, slots=True)
class ProbeEvaluation:
    """Nested cross-validation of linear probes.

    Attributes:
        target: The classes of the patients.
        patches: Patches of these patients.
        folds: Outer folds.
        models: One for each kind of vector.
    """

    target: ClassTarget
    patches: int
    folds: int
    models: tuple[ProbeModel, ...]


@dataclass(frozen=True, slots=True)
class ProbeScores:
    """Out-of-fold log-probabilities.

    Attributes:
        values: (n, classes) of every patch.
        folds: (n,) in which fold each patch was tested.
        strengths: Inverse penalty chosen in each outer fold.
    """

    values: NDArray[np.float64]
    folds: NDArray[np.int64]
    strengths: tuple[float, ...]


def evaluate_probes(
    cohort: EmbeddedCohort,
    *,
    target: str,
    classes: Sequence[str] = (),
    features: Sequence[str] = (),
    folds: int = 5,
    seed: int = 0,
    leaking: bool = False,
    say: Say = quiet,
) -> ProbeEvaluation:
    """Cross-validate logistic regressions grouped by patient.

    Args:
        cohort: The patches.
        target: The fact that is predicted.
        classes: Its values that are told apart, see `read_classes`; none for all.
        features: Kinds of vectors, see `feature_matrix`; none for all that the cohort has.
        folds: Outer folds.
        seed: Of the folds.
        leaking: Measure the published way too, with folds over patches: for reproduction only.
        say: Called with one line a step.

    Raises:
        CohortError: One patient, one class, or too few patients of a class.
    """
    asked = read_classes(cohort, target, classes)
    check_size(asked, folds)
    models, count = [], 0
    for name in features or available_features(cohort):
        bags = make_bags(cohort, name, asked.patients)
        owners, count = bags.owners, len(bags.vectors)
        codes = asked.codes[owners]
        grouped = probe_out_of_fold(bags.vectors, codes, owners, folds, seed)
        models.append(
            ProbeModel(
                name,
                score_classes(grouped.values, codes, owners, grouped.folds),
                score_patients(grouped, owners, asked.codes),
                _score_leaking(bags.vectors, codes, owners, folds, seed) if leaking else None,
                grouped.strengths,
                reads_notes(name),
            )
        )
        say(name)
    return ProbeEvaluation(asked, count, folds, tuple(models))


def probe_out_of_fold(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], groups: NDArray[np.int64], folds: int, seed: int
) -> ProbeScores:
    """Nested cross-validation in which a group is never on both sides, in neither loop.

    Args:
        vectors: (n, d) float32.
        codes: (n,) class of each row; the same within a group.
        groups: (n,) from 0: the patient, or the row itself for the leaking variant.
        folds: Outer folds.
        seed: Of the folds.
    """
    owner = _codes_of_groups(codes, groups)
    numbers = fold_numbers(owner, folds, seed)[groups]
    values, strengths = np.zeros((len(vectors), int(codes.max()) + 1)), []
    for fold in range(folds):
        inside, outside = numbers != fold, numbers == fold
        strength = choose_strength(vectors[inside], codes[inside], groups[inside], seed)
        model = fit_probe(vectors[inside], codes[inside], strength)
        values[outside] = model.predict_log_proba(vectors[outside])
        strengths.append(strength)
    return ProbeScores(values, numbers, tuple(strengths))


def choose_strength(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> float:
    """The inverse penalty with the least log-loss over inner folds of groups."""
    _, groups = np.unique(groups, return_inverse=True)
    owner = _codes_of_groups(codes, groups)
    folds = inner_fold_count(owner)
    numbers = fold_numbers(owner, folds, seed)[groups]
    losses = []
    for strength in STRENGTHS:
        values = np.zeros((len(vectors), int(codes.max()) + 1))
        for fold in range(folds):
            model = fit_probe(vectors[numbers != fold], codes[numbers != fold], strength)
            values[numbers == fold] = model.predict_proba(vectors[numbers == fold])
        losses.append(log_loss(codes, values, labels=np.arange(values.shape[1])))
    return STRENGTHS[int(np.argmin(losses))]


def fit_probe(vectors: NDArray[np.float32], codes: NDArray[np.int64], strength: float) -> Pipeline:
    """Fit a logistic regression (L-BFGS) on standardised vectors; what was not measured becomes the mean."""
    model = make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=strength, solver="lbfgs", max_iter=1000),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors.astype(np.float64), codes)
    return model


def score_patients(found: ProbeScores, owners: NDArray[np.int64], codes: NDArray[np.int64]) -> ClassScores:
    """Score patients by the mean of their patches' log-probabilities; codes are theirs, (p,)."""
    count = len(codes)
    folds = np.zeros(count, np.int64)
    folds[owners] = found.folds
    return score_classes(mean_by(found.values, owners), codes, np.arange(count), folds)


def mean_by(values: NDArray[np.float64], owners: NDArray[np.int64]) -> NDArray[np.float64]:
    """(p, k) mean of the rows of each owner."""
    sums = np.zeros((int(owners.max()) + 1, values.shape[1]))
    np.add.at(sums, owners, values)
    return sums / np.bincount(owners)[:, None]


def _score_leaking(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], owners: NDArray[np.int64], folds: int, seed: int
) -> ClassScores:
    """The published way: every patch is its own group, so that a patient's patches teach their own answer."""
    found = probe_out_of_fold(vectors, codes, np.arange(len(codes)), folds, seed)
    return score_classes(found.values, codes, owners, found.folds)


def _codes_of_groups(codes: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    owner = np.zeros(int(groups.max()) + 1, np.int64)
    owner[groups] = codes
    return owner
