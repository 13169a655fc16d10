"""Patients as bags of vectors: the patient is the unit of every fold, score and interval, never the patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.embedded_cohort import EmbeddedCohort
from .features import feature_matrix

MOST_PATCHES = 1024
"""Patches of one patient that training looks at; of more, every k-th: attention over thousands learns no more."""


@dataclass(frozen=True, slots=True)
class Bags:
    """The vectors of p patients, one patient after the other.

    Attributes:
        patients: (p,) str, sorted.
        vectors: (n, d) float32.
        starts: (p + 1,) int64; patient i owns the rows from starts[i] to starts[i + 1].
    """

    patients: NDArray[np.str_]
    vectors: NDArray[np.float32]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(n,) the patient, by number, of each row."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def bag(self, patient: int) -> NDArray[np.float32]:
        """(k, d) rows of one patient, by number."""
        return self.vectors[self.starts[patient] : self.starts[patient + 1]]

    def select(self, which: NDArray[np.int64]) -> Bags:
        """The bags of these patients, in this order."""
        parts = [self.bag(int(i)) for i in which]
        sizes = np.array([0, *map(len, parts)])
        return Bags(self.patients[which], np.concatenate(parts), np.cumsum(sizes, dtype=np.int64))

    def layout(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where each patient's rows lie, in a rectangle.

        Returns:
            (p, longest) int64 rows of `vectors`, and (p, longest) bool, False where a place is only padding.
        """
        rows = [_thinned(self.starts[i], self.starts[i + 1]) for i in range(len(self))]
        longest = max(map(len, rows))
        place, real = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), np.bool_)
        for i, own in enumerate(rows):
            place[i, : len(own)], real[i, : len(own)] = own, True
        return place, real


def make_bags(cohort: EmbeddedCohort, features: str, patients: NDArray[np.str_]) -> Bags:
    """Gather the vectors of some patients of a cohort; see `feature_matrix` for features and errors."""
    matrix = feature_matrix(cohort, features)
    rows = [np.flatnonzero(cohort.patients == patient) for patient in patients]
    sizes = np.array([0, *map(len, rows)])
    return Bags(patients, matrix[np.concatenate(rows)], np.cumsum(sizes, dtype=np.int64))


def _thinned(first: np.int64, end: np.int64) -> NDArray[np.int64]:
    step = -(-int(end - first) // MOST_PATCHES)
    return np.arange(first, end, max(step, 1), dtype=np.int64)
