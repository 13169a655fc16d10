"""What a frozen mIF encoder makes of every patch, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import atomic_write

from ..dataset import PatchDataset
from ..model import MifTower, Standardise
from .gradients import autocast
from .patch_source import read_channels
from .state import weights_digest

BATCH = 16
"""Patches encoded at once: 54 channels of 256 tokens each already fill a GPU."""


def encode_dataset(
    tower: MifTower,
    dataset: PatchDataset,
    markers: Sequence[str],
    path: Path,
    device: torch.device,
    report: Callable[[int, int], None] = lambda *_: None,
) -> NDArray[np.float32]:
    """Encode all patches with the mIF encoder, or take the vectors that an earlier run of the same encoder left.

    The paper's own training works on such vectors (Haiku, 2605.00925: the mIF encoder is frozen).

    Args:
        tower: The mIF tower; only its encoder is used.
        dataset: The patches.
        markers: Rows of the marker table, from row 1 on.
        path: File of the vectors.
        device: Where to compute.
        report: Called with patches done and patches in all.

    Returns:
        (n, width) float32.

    Raises:
        UnreadableDatasetError, PanelError: A patch can't be used.
        OutputNotWritableError, DiskFullError: The file can't be written.
    """
    digest = _digest(tower, dataset, markers)
    found = _kept(path, digest, len(dataset))
    if found is None:
        found = _encode(tower, dataset, markers, device, report)
        sink = io.BytesIO()
        np.savez(sink, vectors=found, digest=np.array(digest))
        atomic_write(path, sink.getvalue())
    return found


def _kept(path: Path, digest: str, count: int) -> NDArray[np.float32] | None:
    """The file's vectors, if they are of the same encoder and the same patches."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            vectors, own = kept["vectors"], str(kept["digest"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return np.asarray(vectors, np.float32) if own == digest and len(vectors) == count else None


@torch.no_grad()
def _encode(
    tower: MifTower,
    dataset: PatchDataset,
    markers: Sequence[str],
    device: torch.device,
    report: Callable[[int, int], None],
) -> NDArray[np.float32]:
    tower = tower.to(device)
    tower.train(False)
    standardise = Standardise(tower.config.patch, tower.config.pool)
    parts = []
    for start in range(0, len(dataset), BATCH):
        samples = [dataset[row] for row in range(start, min(start + BATCH, len(dataset)))]
        mif, rows = read_channels(samples, markers, standardise)
        with autocast(device):
            parts.append(tower.encode(mif.to(device), rows.to(device)).float().cpu().numpy())
        report(start + len(samples), len(dataset))
    return np.concatenate(parts)


def _digest(tower: MifTower, dataset: PatchDataset, markers: Sequence[str]) -> str:
    """Of the encoder's weights, its sizes, the markers and the names of the patches."""
    parts = [weights_digest(tower.encoder), repr(tower.config), *markers, *dataset.patches.tolist()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
