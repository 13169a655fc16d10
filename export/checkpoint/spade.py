"""SPADE checkpoints: released ones of either naming scheme, and those that a training here wrote."""

from __future__ import annotations

from pathlib import Path

from haiku_edge.runtime.errors import CheckpointIncompleteError

from .spade_own import SPADE_FILE, read_own, write_spade
from .spade_parts import CENTROIDS_FILE, SpadeCheckpoint, clustering_digest
from .spade_released import read_released

__all__ = ["SpadeCheckpoint", "clustering_digest", "read_spade", "write_spade"]

_INSIDE = "checkpoint"
"""Folder of the checkpoint in that of a training."""


def read_spade(folder: Path) -> SpadeCheckpoint:
    """Read and check a checkpoint: one of ours where `spade.json` is there, else a released one.

    Raises:
        CheckpointIncompleteError: A file is missing, or cut short; or the checkpoint is in the folder `checkpoint`.
        CheckpointUnsafeError: A file would have to run code, or is far too large.
        CheckpointLayoutError: The files are not those of one run, or a tensor is not in its place.
        CheckpointValueError: A weight or centroid is no number.
    """
    if not folder.is_dir():
        raise CheckpointIncompleteError(f"{folder} is no folder. Name the folder of a SPADE checkpoint.")
    if not _is_spade(folder) and _is_spade(folder / _INSIDE):
        raise CheckpointIncompleteError(
            f"{folder} is the folder of a training, which holds its checkpoint. Name {folder / _INSIDE}."
        )
    return read_own(folder) if (folder / SPADE_FILE).exists() else read_released(folder)


def _is_spade(folder: Path) -> bool:
    """Whether a folder is meant as a checkpoint of any form; nothing of it is checked."""
    return (folder / SPADE_FILE).exists() or (folder / CENTROIDS_FILE).exists()
