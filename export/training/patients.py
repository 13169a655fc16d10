"""Whom a training learns from and who judges it: split before anything is learned, and written down as digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.errors import CheckpointLayoutError, CohortError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from ..dataset import FolderDataset, PatchDataset
from .run_folder import RUN_FILE, read_run

HELD_OUT_SHARE = 0.1
"""Share of the patients that a training is judged on."""

TRAINING_ROLES = ("", "atlas")
"""Roles of patients that a training may learn from: those kept for calibration or test must not be known to it."""

PATIENTS_FILE = "patients.json"
DIGESTS_KEY = "patient_digests"


@dataclass(frozen=True, slots=True)
class Known:
    """Patients that weights have seen, as digests.

    Attributes:
        train: Patients learned from.
        held_out: Patients that judged, and so chose the weights that were kept.
    """

    train: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    def with_earlier(self, earlier: Known) -> Known:
        """These and those of the training that this one went on from."""
        pairs = (self.train, earlier.train), (self.held_out, earlier.held_out)
        train, held_out = (tuple(sorted({*own, *other})) for own, other in pairs)
        return Known(train, held_out)

    def as_json(self) -> dict[str, list[str]]:
        """As `run.json` and `patients.json` hold them."""
        return {"train": list(self.train), "held_out": list(self.held_out)}


def patient_digest(name: str) -> str:
    """SHA-256 of a patient's name in UTF-8, as hexadecimal digits.

    There is no salt, so that whoever has a name can see whether a model knows it, in whichever dataset it stands. It
    keeps names from being read by chance, no more: a short pseudonym can be guessed.
    """
    return hashlib.sha256(name.encode()).hexdigest()


def known_patients(patients: NDArray[np.str_], train: NDArray[np.int64], held_out: NDArray[np.int64]) -> Known:
    """The digests of the patients of these rows."""
    return Known(_digests(patients[train].tolist()), _digests(patients[held_out].tolist()))


def write_known(folder: Path, known: Known) -> None:
    """Write `patients.json` beside weights."""
    what = "SHA-256 of the UTF-8 name of each patient that the weights were trained on, or chosen by"
    document = {"notice": RESEARCH_USE_ONLY, "what": what, **known.as_json()}
    atomic_write(folder / PATIENTS_FILE, (json.dumps(document, indent=1) + "\n").encode())


def read_known(folder: Path) -> Known:
    """The patients that the weights of a folder have seen; nobody where it does not say, as the published one does not.

    Raises:
        CheckpointLayoutError: `patients.json` is damaged.
        CheckpointIncompleteError: `run.json` is damaged.
    """
    if (folder / PATIENTS_FILE).is_file():
        try:
            stated = json.loads((folder / PATIENTS_FILE).read_bytes())
        except (OSError, ValueError):
            stated = None
    else:
        stated = read_run(folder).get(DIGESTS_KEY, {}) if (folder / RUN_FILE).is_file() else {}
    if not isinstance(stated, dict):
        raise CheckpointLayoutError(f"{PATIENTS_FILE} of {folder.name} is damaged. Copy the folder again.")
    return Known(*(tuple(map(str, stated.get(key, ()))) for key in ("train", "held_out")))


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


def _digests(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({patient_digest(name) for name in names}))


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
