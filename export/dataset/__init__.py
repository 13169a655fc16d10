"""Patches on disk: the published layouts and an open one, behind one protocol."""

from __future__ import annotations

from .folder import FolderDataset, Measurements
from .hdf5 import Hdf5Dataset
from .names import refuse_person_names, remarks_on_names
from .open import open_dataset
from .paper import PaperDataset
from .types import PUBLISHED_MPP, SIDE, PatchDataset, PatchSample
from .write import write_dataset

__all__ = [
    "PUBLISHED_MPP",
    "SIDE",
    "FolderDataset",
    "Hdf5Dataset",
    "Measurements",
    "PaperDataset",
    "PatchDataset",
    "PatchSample",
    "open_dataset",
    "refuse_person_names",
    "remarks_on_names",
    "write_dataset",
]
