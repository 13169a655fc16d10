"""The class of a patch by the classes of the patches that look like it.

Follows Haiku (2605.00925, kNN classification): a vote weighted by similarity. The patch itself never votes. The
published code lets the other patches of the same patient vote, which mostly measures that patients look like
themselves; the honest form leaves all of them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.inference.blocks import row_blocks

from .bootstrap import ROUNDS, draw_patients
from .classification import ClassificationScore, find_classes, score_classes
from .embedded_cohort import EmbeddedCohort
from .galleries import Leave, own_barrier, search
from .labels import cohort_labels
from .ranking import CUTS

LEAST_WEIGHT = 1e-6
"""A neighbour of no similarity counts so much: where nobody is similar, the vote is by number."""

MODALITIES = ("mif", "he")
"""Modalities whose vectors are compared. The notes are left out: they state the class."""

GALLERIES: tuple[Leave, ...] = ("patch", "patient")
"""Published (the patient's other patches vote) and honest (they do not)."""


@dataclass(frozen=True, slots=True)
class KnnScore:
    """kNN classification from one modality.

    Attributes:
        modality: Whose vectors are compared.
        leave: What is left out of the vote, one of `GALLERIES`.
        neighbours: k.
        score: Against the true classes.
    """

    modality: str
    leave: Leave
    neighbours: int
    score: ClassificationScore


@dataclass(frozen=True, slots=True)
class KnnResult:
    """kNN classification of a cohort.

    Attributes:
        label: The fact.
        classes: Its classes that at least two patients have.
        dropped: Classes left out: their only patient can't vote on their own patches.
        patients: Patients with one of the classes.
        majority: Accuracy of always saying the most common class.
        scores: One a modality, gallery and k.
    """

    label: str
    classes: tuple[str, ...]
    dropped: int
    patients: int
    majority: float
    scores: tuple[KnnScore, ...]


def score_knn(cohort: EmbeddedCohort, label: str, *, rounds: int = ROUNDS) -> KnnResult:
    """Classify every patch by its neighbours in each modality.

    Raises:
        CohortError: One patient, or fewer than two classes with two patients.
    """
    labels = cohort_labels(cohort, label)
    classes = find_classes(labels, cohort.patients, least_patients=2)
    known = np.isin(labels, classes)
    chosen = cohort.select(known)
    true = np.searchsorted(np.array(classes), labels[known])
    resamples = draw_patients(chosen.patients, rounds)
    scores = []
    for modality in (name for name in MODALITIES if name in cohort.vectors):
        for leave in GALLERIES:
            for k, predicted in vote(chosen, modality, true, len(classes), leave).items():
                scores.append(KnnScore(modality, leave, k, score_classes(true, predicted, len(classes), resamples)))
    counts = np.bincount(true)
    return KnnResult(
        label=label,
        classes=classes,
        dropped=len(set(labels.tolist()) - {""} - set(classes)),
        patients=resamples.patients,
        majority=float(counts.max() / counts.sum()),
        scores=tuple(scores),
    )


def vote(
    cohort: EmbeddedCohort, modality: str, true: NDArray[np.int64], classes: int, leave: Leave
) -> dict[int, NDArray[np.int64]]:
    """Let the neighbours of each patch vote, weighted by cosine; of equal votes the first class wins.

    Args:
        cohort: n patches.
        modality: Whose vectors are compared.
        true: (n,) class of each patch, from 0.
        classes: Number of classes.
        leave: Who may not vote.

    Returns:
        k → (n,) int64 predicted class; -1 where nobody may vote.
    """
    vectors = cohort.vectors[modality]
    found = search(vectors, vectors, CUTS[-1], own_barrier(cohort, leave))
    weights = np.where(found.ids >= 0, np.maximum(found.scores, LEAST_WEIGHT), 0.0).astype(np.float64)
    predicted = {k: np.full(len(cohort), -1, np.int64) for k in CUTS}
    for rows in row_blocks(len(cohort), CUTS[-1] * classes):
        counted = _count_votes(true[np.maximum(found.ids[rows], 0)], weights[rows], classes)
        for k in CUTS:
            predicted[k][rows] = np.where(weights[rows, 0] > 0, counted[:, k - 1].argmax(axis=1), -1)
    return predicted


def _count_votes(voted: NDArray[np.int64], weights: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """(n, k, classes) votes for each class among the first 1, 2, ... k neighbours."""
    ballots = np.zeros((*voted.shape, classes))
    np.put_along_axis(ballots, voted[:, :, None], weights[:, :, None], axis=2)
    return np.cumsum(ballots, axis=1, out=ballots)
