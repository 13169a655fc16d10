"""The class of a patch by the sentence that fits it best.

Follows Haiku (2605.00925, zero-shot classification): a sentence for each class goes through the text tower, and the
class of the most similar one is the answer; the figures are the mean and standard deviation over five templates, which
are not pooled. The notes' own form of the same fact is scored beside them, since that is what a text tower trained on
notes has read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.notes import metadata_prompt

from ..vocabulary import prompts
from .bootstrap import ROUNDS, Resamples, draw_patients
from .classification import ClassificationScore, find_classes, score_classes
from .embedded_cohort import EmbeddedCohort
from .labels import class_templates, cohort_labels

MODALITIES = ("he", "mif")


EmbedTexts = Callable[[Sequence[str]], NDArray[np.float32]]
"""A text tower with its tokenizer: n texts to (n, d) unit vectors."""


@dataclass(frozen=True, slots=True)
class ZeroShotScore:
    """Zero-shot classification from one modality.

    Attributes:
        modality: Whose vectors are classified.
        templates: One score a template.
        notes: The score of the notes' own form of the fact.
    """

    modality: str
    templates: tuple[ClassificationScore, ...]
    notes: ClassificationScore

    def mean(self, figure: str) -> float:
        """Mean over the templates of accuracy, balanced or f1."""
        return float(np.mean([getattr(score, figure).value for score in self.templates]))

    def deviation(self, figure: str) -> float:
        """Sample standard deviation over the templates."""
        return float(np.std([getattr(score, figure).value for score in self.templates], ddof=1))


@dataclass(frozen=True, slots=True)
class ZeroShotResult:
    """Zero-shot classification of a cohort.

    Attributes:
        label: The fact.
        classes: Its classes.
        templates: The sentences; `{}` is the class.
        patients: Patients with a class.
        majority: Accuracy of always saying the most common class.
        scores: One a modality.
    """

    label: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    patients: int
    majority: float
    scores: tuple[ZeroShotScore, ...]


def score_zero_shot(cohort: EmbeddedCohort, label: str, embed: EmbedTexts, *, rounds: int = ROUNDS) -> ZeroShotResult:
    """Classify every patch by the sentences of its possible classes.

    Args:
        cohort: Patches, embedded by the same bundle as `embed`.
        label: The fact whose values are the classes.
        embed: The bundle's text tower.
        rounds: Draws of the bootstrap.

    Raises:
        CohortError: One patient, or fewer than two classes.
        UsageError: Another bundle embedded the cohort.
    """
    labels = cohort_labels(cohort, label)
    classes = find_classes(labels, cohort.patients, least_patients=1)
    chosen = cohort.select(labels != "")
    true = np.searchsorted(np.array(classes), labels[labels != ""])
    resamples = draw_patients(chosen.patients, rounds)
    templates = class_templates(label)
    sentences = (*prompts(classes, templates), tuple(metadata_prompt(((label, name),)) for name in classes))
    texts = [embed(row) for row in sentences]
    scores = [
        _score(name, chosen.vectors[name], texts, true, resamples) for name in MODALITIES if name in chosen.vectors
    ]
    counts = np.bincount(true)
    return ZeroShotResult(
        label, classes, templates, resamples.patients, float(counts.max() / counts.sum()), tuple(scores)
    )


def _score(
    modality: str,
    vectors: NDArray[np.float32],
    texts: Sequence[NDArray[np.float32]],
    true: NDArray[np.int64],
    resamples: Resamples,
) -> ZeroShotScore:
    """Score each row of sentences; the last row is the notes' form."""
    if vectors.shape[1] != texts[0].shape[1]:
        raise UsageError(
            f"The cohort's vectors have {vectors.shape[1]} dimensions, the bundle's {texts[0].shape[1]}. Name the "
            "bundle that embedded the cohort with --bundle."
        )
    found = [score_classes(true, (vectors @ classes.T).argmax(axis=1), len(classes), resamples) for classes in texts]
    return ZeroShotScore(modality, tuple(found[:-1]), found[-1])
