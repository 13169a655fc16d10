"""The published layout: one pickle, one H&E array and one text a patch (Haiku, 2605.00925, code, `dataset.py`).

Somewhere below the folder lie, for each patch named `{region}_{x1}-{x2}-{y1}-{y2}`, the files `NAME.pkl` (a dict of
"codex", uint8 (c, 256, 256), and "biomarker_name", a list), `NAME.npy` (H&E, uint8 (256, 256, 3)) and
`NAME_backgroud.txt` (the misspelling is part of the format); for a region `{region}.metadata.csv`, and at the top
`patients.csv`, which this program adds. How the folders between are called does not matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UnreadableDatasetError

from ._check import checked_he, checked_mif, checked_panel
from ._panel import read_panel
from ._patch_name import corner_in_name, region_in_name
from ._pickle import read_pickle
from ._rows import DatasetOfRows
from .regions import METADATA_SUFFIX, about_region, read_patients
from .types import PUBLISHED_MPP, PatchSample

TEXT_SUFFIX = "_backgroud.txt"


@dataclass(frozen=True, slots=True)
class _Files:
    """Where the files of a dataset lie, by patch or region."""

    codex: Mapping[str, Path]
    he: Mapping[str, Path]
    text: Mapping[str, Path]
    metadata: Mapping[str, Path]


class PaperDataset(DatasetOfRows):
    """Patches in the published layout.

    Args:
        folder: Where they lie.
        mpp: Micrometres per pixel; the layout does not state it.

    Raises:
        UnreadableDatasetError: No patch is there, or two files claim the same one.
    """

    def __init__(self, folder: Path, mpp: float = PUBLISHED_MPP) -> None:
        self._files = _find(folder)
        names = sorted({*self._files.codex, *self._files.he})
        if not names:
            raise UnreadableDatasetError(f"{folder.name} holds no patch of the published layout: no .pkl and no .npy.")
        self._named = read_patients(folder)
        self._regions: dict[str, tuple[str, dict[str, str]]] = {}
        self.name = folder.name
        self.mpp = mpp
        self.patches = np.array(names, np.str_)
        self.regions = np.array([self._region(name) for name in names], np.str_)
        self.patients = np.array([self._about(str(region))[0] for region in self.regions], np.str_)

    def __getitem__(self, row: int) -> PatchSample:
        """Read one patch."""
        name, region = str(self.patches[row]), str(self.regions[row])
        patient, facts = self._about(region)
        mif, markers = (None, ()) if name not in self._files.codex else _read_mif(self._files.codex[name], name)
        x, y = corner_in_name(name, self.mpp)
        return PatchSample(
            patch=name,
            region=region,
            patient=patient,
            he=_read_he(self._files.he[name], name) if name in self._files.he else None,
            mif=mif,
            markers=markers,
            caption=_read_text(self._files.text[name]) if name in self._files.text else None,
            facts=facts,
            x=x,
            y=y,
        )

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """Every marker: the panels of the first patch of each region, since a region is stained once."""
        firsts = {str(region): str(name) for name, region in zip(self.patches[::-1], self.regions[::-1], strict=True)}
        found: dict[str, None] = {}
        for name in sorted(firsts.values()):
            if name in self._files.codex:
                found |= dict.fromkeys(_read_mif(self._files.codex[name], name)[1])
        return tuple(found)

    def _region(self, name: str) -> str:
        path = self._files.codex.get(name) or self._files.he[name]
        return region_in_name(name) or path.parent.name

    def _about(self, region: str) -> tuple[str, dict[str, str]]:
        """Patient and facts of a region."""
        if region not in self._regions:
            self._regions[region] = about_region(region, self._files.metadata.get(region), self._named)
        return self._regions[region]


def is_paper_layout(folder: Path) -> bool:
    """Whether a pickle or an H&E array of a patch lies somewhere below."""
    return any(path.suffix == ".pkl" for path in _walk(folder)) or any(path.suffix == ".npy" for path in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(place) / file for file in sorted(files))


def _find(folder: Path) -> _Files:
    found: dict[str, dict[str, Path]] = {".pkl": {}, ".npy": {}, TEXT_SUFFIX: {}, METADATA_SUFFIX: {}}
    for path in _walk(folder):
        ending = next((ending for ending in found if path.name.endswith(ending)), None)
        if ending is None:
            continue
        name = path.name.removesuffix(ending)
        if found[ending].setdefault(name, path) != path:
            raise UnreadableDatasetError(
                f"{path.name} is there twice, in {found[ending][name].parent.name} and {path.parent.name}. "
                "Give the folder of one version of the patches."
            )
    return _Files(found[".pkl"], found[".npy"], found[TEXT_SUFFIX], found[METADATA_SUFFIX])


def _read_mif(path: Path, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    content = read_pickle(path)
    if not isinstance(content, dict) or "codex" not in content or "biomarker_name" not in content:
        raise UnreadableDatasetError(f'{path.name} is no patch: it lacks "codex" or "biomarker_name".')
    names = checked_panel(content["biomarker_name"], name)
    image = checked_mif(content["codex"], len(names), name)
    panel = read_panel(names, name)
    return image[panel.rows], panel.markers


def _read_he(path: Path, name: str) -> NDArray[np.uint8]:
    try:
        image = np.load(path, mmap_mode="r", allow_pickle=False)  # reads nothing before its shape is known
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableDatasetError(f"{path.name} is no array, or is damaged ({type(error).__name__}).") from None
    return np.array(checked_he(image, name))


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeError) as error:
        raise UnreadableDatasetError(f"{path.name} can't be read ({type(error).__name__}).") from None
