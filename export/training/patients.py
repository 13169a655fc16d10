"""Whom a training learns from and who judges it: split before anything is learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import CohortError

from ..dataset import FolderDataset, PatchDataset

HELD_OUT_SHARE = 0.1
"""Share of the patients that a training is judged on."""

TRAINING_ROLES = ("", "atlas")
"""Roles of patients that a training may learn from: those kept for calibration or test must not be known to it."""


def known_patients(patients: NDArray[np.str_], train: NDArray[np.int64], held_out: NDArray[np.int64]) -> KnownPatients:
    """The digests of the patients of these rows."""
    return KnownPatients.of_names(patients[train].tolist(), patients[held_out].tolist())


def split_dataset(dataset: PatchDataset, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the patches of the patients that a training may learn from; see `split_patients`.

    Returns:
        Rows of the dataset to train on, and rows of the held-out patients; patients kept for calibration or test are
        in neither.

    Raises:
        CohortError: Nobody, or one patient only, is left.
    """
    rows = np.arange(len(dataset))
    if isinstance(dataset, FolderDataset):
        rows = np.flatnonzero(np.isin(dataset.measurements.roles, TRAINING_ROLES))
    if not len(rows):
        raise CohortError(
            f"Every patient of {dataset.name} is kept for calibration or test, so none is left to train on. Give "
            "patients to train on the role 'atlas' or none."
        )
    train, held_out = split_patients(dataset.patients[rows], seed)
    return rows[train], rows[held_out]


def split_patients(
    patients: NDArray[np.str_], seed: int, share: float = HELD_OUT_SHARE
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split patches by patient.

    Args:
        patients: (n,) patient of each patch.
        seed: Seeds the choice of patients; their order in the data does not matter.
        share: Share of the patients that are held out; at least one is.

    Returns:
        Rows to train on, and rows of the held-out patients; no patient is in both.

    Raises:
        CohortError: There is one patient only.
    """
    names = np.unique(patients)
    if len(names) < 2:
        raise CohortError(
            "The dataset has one patient only, so no patient is left to judge the training on. Add patients; where one "
            "name stands for several, give each its own in patients.csv."
        )
    chosen = np.random.default_rng(np.random.SeedSequence((seed, 3))).permutation(len(names))
    held_out = np.isin(patients, names[chosen[: max(1, round(share * len(names)))]])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
