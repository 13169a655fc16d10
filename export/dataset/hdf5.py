"""The published HDF5 layout: one `{region}.h5` a region, one group a patch.

A group holds the datasets `codex` (uint8 (c, 256, 256)) and `he` (uint8 (256, 256, 3)) and the attributes `channels` (a
JSON list of names) and `text` (Haiku, 2605.00925, code). `{region}.metadata.csv` and `patients.csv` as in the layout of
single files.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from haiku_edge.runtime.errors import PatchShapeError, UnreadableDatasetError

from ._check import checked_he, checked_mif, checked_panel
from ._panel import read_panel
from ._patch_name import corner_in_name
from ._pickle import MAX_BYTES
from ._rows import DatasetOfRows
from .regions import METADATA_SUFFIX, about_region, read_patients
from .types import PUBLISHED_MPP, PatchSample

_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, json.JSONDecodeError)


class Hdf5Dataset(DatasetOfRows):
    """Patches in the published HDF5 layout.

    Args:
        folder: Folder of the regions' files.
        mpp: Micrometres per pixel; the layout does not state it.

    Raises:
        UnreadableDatasetError: No patch is there, or a file is damaged.
    """

    def __init__(self, folder: Path, mpp: float = PUBLISHED_MPP) -> None:
        files = {path.stem: path for path in sorted(folder.glob("*.h5"))}
        named = read_patients(folder)
        self.name = folder.name
        self.mpp = mpp
        self._files = files
        self._facts: dict[str, dict[str, str]] = {}
        patients: dict[str, str] = {}
        rows: list[tuple[str, str]] = []
        for region, path in files.items():
            metadata = folder / f"{region}{METADATA_SUFFIX}"
            patients[region], self._facts[region] = about_region(
                region, metadata if metadata.is_file() else None, named
            )
            rows += [(patch, region) for patch in _groups(path)]
        if not rows:
            raise UnreadableDatasetError(f"{folder.name} holds no patch of the published HDF5 layout.")
        self.patches = np.array([patch for patch, _ in rows], np.str_)
        self.regions = np.array([region for _, region in rows], np.str_)
        self.patients = np.array([patients[region] for _, region in rows], np.str_)
        if len(set(self.patches.tolist())) < len(rows):
            raise UnreadableDatasetError(f"Two patches of {folder.name} have the same name.")

    def __getitem__(self, row: int) -> PatchSample:
        """Read one patch."""
        name, region = str(self.patches[row]), str(self.regions[row])
        try:
            with h5py.File(self._files[region], "r") as file:
                group = file[name]
                mif, he = _image(group, "codex"), _image(group, "he")
                names = _json_list(group.attrs["channels"]) if mif is not None else None
                text = _text(group.attrs.get("text", ""))
        except _ERRORS as error:
            raise UnreadableDatasetError(
                f"The patch {name} of {self._files[region].name} can't be read ({type(error).__name__})."
            ) from None
        panel = None if mif is None else read_panel(checked_panel(names, name), name)
        x, y = corner_in_name(name, self.mpp)
        return PatchSample(
            patch=name,
            region=region,
            patient=str(self.patients[row]),
            he=None if he is None else checked_he(he, name),
            mif=None if panel is None else checked_mif(mif, len(checked_panel(names, name)), name)[panel.rows],
            markers=() if panel is None else panel.markers,
            caption=text.strip() or None,
            facts=self._facts[region],
            x=x,
            y=y,
        )

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """Every marker: the panels of the first patch of each region, since a region is stained once."""
        _, firsts = np.unique(self.regions, return_index=True)
        return tuple(dict.fromkeys(marker for row in firsts for marker in self[int(row)].markers))


def _groups(path: Path) -> list[str]:
    try:
        with h5py.File(path, "r") as file:
            return [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    except _ERRORS as error:
        raise UnreadableDatasetError(f"{path.name} is no HDF5 file, or is damaged ({type(error).__name__}).") from None


def _image(group: h5py.Group, name: str) -> object:
    """The pixels of a dataset that lies in this very file and is no larger than a patch can be."""
    if name not in group:
        return None
    dataset = group[name]
    own = isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(dataset, h5py.Dataset)
    if not own or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} is no dataset of its own")
    if dataset.nbytes > MAX_BYTES:
        raise PatchShapeError(f"The dataset {name} of {group.name} is {dataset.shape} {dataset.dtype}: no patch.")
    return dataset[()]


def _json_list(value: object) -> object:
    return json.loads(_text(value))


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
