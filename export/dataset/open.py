"""Which layout a folder has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from haiku_edge.runtime.errors import UnreadableDatasetError

from .folder import ABOUT_FILE, FolderDataset
from .hdf5 import Hdf5Dataset
from .paper import PaperDataset, is_paper_layout
from .types import PUBLISHED_MPP, PatchDataset

_KINDS = 4
"""Kinds of files that a refusal tells of."""


def open_dataset(path: Path, *, mpp: float | None = None) -> PatchDataset:
    """Open patches on disk, in whichever of the three layouts they are.

    Args:
        path: Folder of the open layout (`dataset.json`), of HDF5 files (`*.h5`), or of the published single files.
        mpp: Micrometres per pixel of the published layouts, which don't state it; `PUBLISHED_MPP` where None.

    Raises:
        UnreadableDatasetError: No known layout, or a damaged file.
        PanelError, PatchShapeError: See the layouts.
    """
    if not path.is_dir():
        raise UnreadableDatasetError(f"{path.name} is no folder of patches. Give the folder that holds them.")
    if (path / ABOUT_FILE).exists():
        return FolderDataset(path)
    if any(path.glob("*.h5")):
        return Hdf5Dataset(path, mpp or PUBLISHED_MPP)
    if is_paper_layout(path):
        return PaperDataset(path, mpp or PUBLISHED_MPP)
    raise UnreadableDatasetError(
        f"{path.name} has no known layout of patches: it holds {_contents(path)}, but no {ABOUT_FILE}, no .h5 file, no "
        ".pkl and no .npy. If it holds images of whole regions, list them in regions.csv and cut them with "
        "`haiku-edge atlas build` (docs/guides/atlas.md); patches go into a layout of docs/dataset-format.md."
    )


def _contents(folder: Path) -> str:
    """How many files of which kinds lie in a folder, without their names."""
    kinds = Counter(path.suffix.lower() or "no suffix" for path in folder.iterdir() if path.is_file())
    folders = sum(path.is_dir() for path in folder.iterdir())
    said = [f"{count} × {kind}" for kind, count in kinds.most_common(_KINDS)]
    return ", ".join([*said, *([f"{folders} folders"] if folders else [])]) or "nothing"
