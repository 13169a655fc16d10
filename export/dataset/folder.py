"""The open layout, an atlas folder: `dataset.json`, `patches.parquet`, `patches.zarr` (docs/dataset-format.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray

from haiku_edge.runtime.arrow import list_matrix
from haiku_edge.runtime.errors import PatchShapeError, UnreadableDatasetError

from ._rows import DatasetOfRows
from .regions import clean_facts
from .types import SIDE, PatchSample

ABOUT_FILE: Final = "dataset.json"
TABLE_FILE: Final = "patches.parquet"
IMAGES_FILE: Final = "patches.zarr"
FORMAT: Final = "haiku-edge patches"
VERSION: Final = "1.0"
ROLES: Final = ("", "atlas", "calibration", "test")
"""What a patient's patches are for; '' leaves it to the reader."""

_TEXTS = ("patch", "region", "patient", "role", "facts")


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the folder states of n patches and m markers beside their images.

    Attributes:
        expression: (n, m) float32, mean intensity 0 to 255, zeros included; NaN where not measured.
        positive: (n, m) float32, 1 or 0; NaN where not measured or not known.
        positivity: When a patch counts as positive, in one sentence; None where `positive` says nothing.
        roles: (n,) str, each of `ROLES`.
    """

    expression: NDArray[np.float32]
    positive: NDArray[np.float32]
    positivity: str | None
    roles: NDArray[np.str_]


class FolderDataset(DatasetOfRows):
    """Patches in the open layout.

    Raises:
        UnreadableDatasetError: A file is missing, damaged or of another version, they do not fit each other, a patient
            has two roles, or a patch has two channels of one marker.
    """

    def __init__(self, folder: Path) -> None:
        self.about = _read_about(folder)
        self.name = str(self.about["name"])
        self.mpp: float | None = None if self.about["mpp"] is None else float(self.about["mpp"])
        self.markers: tuple[str, ...] = tuple(map(str, self.about["markers"]))
        table = _read_table(folder)
        try:
            texts = {name: np.array(table[name].to_pylist(), np.str_) for name in _TEXTS}
            self.patches, self.regions, self.patients = texts["patch"], texts["region"], texts["patient"]
            self.measurements = Measurements(
                list_matrix(table, "expression", np.float32, len(self.markers)),
                list_matrix(table, "positive", np.float32, len(self.markers)),
                self.about["positivity"],
                texts["role"],
            )
            self._facts = _read_facts(folder, table["facts"].to_pylist())
            self._captions: list[str | None] = table["caption"].to_pylist()
            self._channels: list[list[str]] = table["channels"].to_pylist()
            self._has_he: list[bool] = table["has_he"].to_pylist()
            self._places = np.stack([np.asarray(table[name].to_numpy(), np.float64) for name in ("x", "y")], axis=1)
        except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise _unreadable(folder, f"{TABLE_FILE} has other columns than it should ({error})") from None
        self._check(folder)
        self._rows_of = {marker: row for row, marker in enumerate(self.markers)}
        self._he, self._mif = _open_images(folder, len(self.patches), len(self.markers), any(self._has_he))

    def __getitem__(self, row: int) -> PatchSample:
        """Read one patch."""
        names = tuple(self._channels[row])
        x, y = self._places[row].tolist()
        return PatchSample(
            patch=str(self.patches[row]),
            region=str(self.regions[row]),
            patient=str(self.patients[row]),
            he=self._read(self._he, row) if self._has_he[row] else None,
            mif=self._read(self._mif, row)[[self._rows_of[name] for name in names]] if names else None,
            markers=names,
            caption=self._captions[row],
            facts=self.facts(row),
            x=None if np.isnan(x) else x,
            y=None if np.isnan(y) else y,
        )

    def facts(self, row: int) -> dict[str, str]:
        """The clinical facts of a patch's region, without identifiers whoever made the folder."""
        return dict(self._facts[row])

    def mif(self, row: int) -> NDArray[np.uint8]:
        """(m, 256, 256) uint8, the mIF of a patch with a channel for each of `markers`; 0 where not measured."""
        return self._read(self._mif, row)

    def _read(self, images: Any, row: int) -> NDArray[np.uint8]:
        try:
            return np.asarray(images[row], np.uint8)
        except Exception as error:  # a damaged chunk can fail in any way
            raise UnreadableDatasetError(
                f"The patch {self.patches[row]} of {self.name} can't be read ({type(error).__name__}). "
                f"{IMAGES_FILE} is damaged; make the folder again."
            ) from None

    def _check(self, folder: Path) -> None:
        if len(set(self.patches.tolist())) < len(self.patches) or not len(self.patches):
            raise _unreadable(folder, "it holds no patch, or two of the same name")
        if not set(self.measurements.roles.tolist()) <= set(ROLES):
            raise _unreadable(folder, f"a role is none of {', '.join(ROLES[1:])}")
        known = set(self.markers)
        if any(not set(names) <= known for names in self._channels):
            raise _unreadable(folder, "a patch names a marker that dataset.json does not")
        if any(len(set(names)) < len(names) for names in [self.markers, *self._channels]):
            raise _unreadable(folder, "a patch has two channels of one marker")
        pairs = set(zip(self.patients.tolist(), self.measurements.roles.tolist(), strict=True))
        if len({patient for patient, _ in pairs}) < len(pairs):
            raise _unreadable(folder, "a patient has two roles, so that what is learned from them would judge them")


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / ABOUT_FILE).read_bytes())
        if about["format"] != FORMAT or about["version"] != VERSION:
            raise _unreadable(folder, f"it is of another version than {VERSION}")
        if any(key not in about for key in ("name", "mpp", "markers", "positivity")) or about["side"] != SIDE:
            raise _unreadable(folder, f"{ABOUT_FILE} does not have what it should")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _unreadable(folder, f"{ABOUT_FILE} is missing or damaged ({type(error).__name__})") from None
    return dict(about)


def _read_facts(folder: Path, texts: list[object]) -> list[dict[str, str]]:
    """The facts of each row; rows of one region share them."""
    known: dict[object, dict[str, str]] = {}
    for text in dict.fromkeys(texts):
        try:
            pairs = json.loads(str(text))
        except (ValueError, RecursionError):
            pairs = None
        if not isinstance(pairs, dict) or any(isinstance(value, dict | list) for value in pairs.values()):
            raise _unreadable(folder, f"the facts of a row of {TABLE_FILE} are no JSON object of texts")
        known[text] = clean_facts({key: str(value) for key, value in pairs.items()})
    return [known[text] for text in texts]


def _read_table(folder: Path) -> pa.Table:
    try:
        return pq.read_table(folder / TABLE_FILE)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _unreadable(folder, f"{TABLE_FILE} is missing or damaged ({type(error).__name__})") from None


def _open_images(folder: Path, count: int, width: int, with_he: bool) -> tuple[Any, Any]:
    try:
        group = zarr.open_group(folder / IMAGES_FILE, mode="r")
        mif, he = group["mif"], (group["he"] if with_he else None)
    except Exception as error:  # zarr's errors have no common base
        raise _unreadable(folder, f"{IMAGES_FILE} is missing or damaged ({type(error).__name__})") from None
    for images, shape in ((mif, (count, width, SIDE, SIDE)), (he, (count, SIDE, SIDE, 3))):
        if images is not None and (images.shape != shape or images.dtype != np.uint8):
            raise PatchShapeError(f"An array of {IMAGES_FILE} is {images.shape} {images.dtype}, not {shape} uint8.")
    return he, mif


def _unreadable(folder: Path, why: str) -> UnreadableDatasetError:
    return UnreadableDatasetError(
        f"{folder.name} can't be used as an atlas folder: {why}. Make it again with `haiku-edge atlas build`."
    )
