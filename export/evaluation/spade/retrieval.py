"""Expression of a spot from the most similar spots of other patients, as an atlas answers in `predict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.atlas import Neighbours
from haiku_edge.runtime.errors import UsageError

from ..galleries import Barrier, search
from ..imputation import TEMPERATURE, softmax_weights
from .spot_cohort import SpotCohort, unit_rows

Keys = Literal["image", "expression"]
KEYS: Final[tuple[Keys, ...]] = ("image", "expression")
"""What the atlas holds of its spots: the vectors of their pictures, or those of their expression by the gene heads."""

NEIGHBOURS: Final = 20
"""Spots behind a prediction. One spot is a noisy count of few cells, so more of them than of mIF patches."""


@dataclass(frozen=True, slots=True)
class Search:
    """How neighbours are found and weighted.

    Attributes:
        neighbours: k.
        temperature: Of the softmax over their cosines.
    """

    neighbours: int = NEIGHBOURS
    temperature: float = TEMPERATURE


def other_patients(patients: NDArray[np.str_], asked: NDArray[np.int64]) -> Barrier:
    """The barrier that keeps a patient's own spots from being found by the asked ones."""
    codes = np.unique(patients, return_inverse=True)[1].ravel().astype(np.int64)
    every, nowhere = np.repeat(codes[:, None], 3, axis=1), np.full((len(codes), 2), np.nan, np.float32)
    return Barrier("patient", every[asked], every, (nowhere[asked], nowhere), (np.nan, np.nan))


def find_neighbours(
    cohort: SpotCohort, name: str, neighbours: int, keys: Keys = "image", asked: NDArray[np.int64] | None = None
) -> Neighbours:
    """The k spots of other patients that are most similar by cosine to each spot.

    Args:
        cohort: The spots.
        name: Representation.
        neighbours: k.
        keys: What is searched.
        asked: (q,) rows of the spots that are asked about, among all of the cohort; None for every one.

    Raises:
        UsageError: The cohort has no such keys.
    """
    if keys == "expression" and name not in cohort.keys:
        raise UsageError(f"The cohort has no vectors of expression for {name!r}. Search the pictures.")
    pictures, rows = unit_rows(cohort.vectors[name]), np.arange(len(cohort)) if asked is None else asked
    held = pictures if keys == "image" else unit_rows(cohort.keys[name])
    return search(pictures[rows], held, neighbours, other_patients(cohort.patients, rows))


def infer(cohort: SpotCohort, found: Neighbours, temperature: float = TEMPERATURE) -> NDArray[np.float32]:
    """(q, g) means of the neighbours' log-normalised expression, weighted by the softmax of their cosines."""
    weights, known = softmax_weights(found.scores, temperature), found.ids >= 0
    starts = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    mixed = csr_matrix((weights[known], found.ids[known], starts), shape=(len(found.ids), len(cohort)))
    return np.asarray(mixed @ cohort.expression.astype(np.float64), np.float32)


def organ_means(cohort: SpotCohort) -> NDArray[np.float32]:
    """(n, g) mean expression of the other patients' spots of the same organ; of any organ where there are none."""
    values = cohort.expression.astype(np.float64)
    out = np.empty_like(cohort.expression)
    for patient in np.unique(cohort.patients):
        own = cohort.patients == patient
        for organ in np.unique(cohort.organs[own]):
            alike = ~own & (cohort.organs == organ)
            out[own & (cohort.organs == organ)] = values[alike if alike.any() else ~own].mean(axis=0)
    return out
