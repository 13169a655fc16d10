"""Attention MIL classification of patients on a cohort: each kind of vector alone and fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..evaluation.embedded_cohort import EmbeddedCohort
from .bags import make_bags
from .features import available_features, reads_notes
from .folds import fold_numbers
from .nested import Choice, Say, cross_validate, quiet
from .scores import ClassScores, score_classes
from .settings import Settings
from .targets import ClassTarget, check_size, read_classes


@dataclass(frozen=True, slots=True)
class ClassModel:
    """One model of a classification.

    Attributes:
        name: The vectors that it reads, and how.
        scores: Its scores over patients.
        logits: (p, classes) out-of-fold scores.
        choices: What the inner loop chose in each fold.
        reads_notes: Whether its vectors were made from the notes, which may state the class.
    """

    name: str
    scores: ClassScores
    logits: NDArray[np.float64]
    choices: tuple[Choice, ...]
    reads_notes: bool


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """Nested cross-validation of a class of patients.

    Attributes:
        target: The classes.
        folds: Outer folds.
        models: One for each kind of vector and network.
    """

    target: ClassTarget
    folds: int
    models: tuple[ClassModel, ...]


def evaluate_classes(
    cohort: EmbeddedCohort,
    *,
    target: str,
    classes: Sequence[str] = (),
    grids: Mapping[str, Sequence[Settings]],
    features: Sequence[str] = (),
    folds: int = 5,
    seed: int = 0,
    say: Say = quiet,
) -> ClassEvaluation:
    """Cross-validate classifiers of patients.

    Args:
        cohort: The patches.
        target: The fact that is predicted.
        classes: Its values that are told apart, see `read_classes`; none for all.
        grids: Model → settings among which each inner loop chooses, such as `{"mil": preset("mil")}`.
        features: Kinds of vectors, see `feature_matrix`; none for all that the cohort has.
        folds: Outer folds.
        seed: Of folds and networks.
        say: Called with one line a step.

    Raises:
        CohortError: One patient, one class, or too few patients of a class.
    """
    asked = read_classes(cohort, target, classes)
    check_size(asked, folds)
    numbers = fold_numbers(asked.strata, folds, seed)
    models = []
    for name, (model, grid) in product(features or available_features(cohort), grids.items()):
        bags = make_bags(cohort, name, asked.patients)
        found = cross_validate(bags, asked, grid, numbers, seed, partial(_say_step, say, f"{name}, {model}"))
        scores = score_classes(found.scores, asked.codes, np.arange(len(asked)), numbers)
        models.append(ClassModel(f"{name}, {model}", scores, found.scores, found.choices, reads_notes(name)))
    return ClassEvaluation(asked, folds, tuple(models))


def _say_step(say: Say, model: str, line: str) -> None:
    say(f"{model}: {line}")
