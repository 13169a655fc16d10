"""What a bundle holds that can be searched: mIF patches of the atlas, H&E tiles and notes of calibration patients."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atlas import Atlas, ExactIndex, open_atlas
from ..bundle import Bundle
from ..errors import BundleContentError, UsageError
from .calibration import CalibrationCases, read_cases
from .patients import check_excluded
from .retrieve import patients_allowed

Modality = Literal["he", "mif", "text"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class BundleGallery:
    """Vectors of one modality with what is known of each.

    Attributes:
        modality: Of the vectors.
        of: What it holds, in words.
        names: (n,) str identifiers of the items.
        patients: (n,) str pseudonyms.
        sections: (n,) str, '' where not known.
        organs: (n,) str, '' where not known.
        markers: Names of the m markers.
        z: (n, m) float32 measured expression in standard deviations of the atlas, NaN where not measured.
        search: Query (d,) and number → rows, best first, and cosines.
        atlas: The evidence, which has the pictures of mIF patches.
    """

    modality: Modality
    of: str
    names: NDArray[np.str_]
    patients: NDArray[np.str_]
    sections: NDArray[np.str_]
    organs: NDArray[np.str_]
    markers: tuple[str, ...]
    z: NDArray[np.float32]
    search: Callable[[NDArray[np.float32], int], Found]
    atlas: Atlas


def open_gallery(bundle: Bundle, modality: str, excluded: tuple[str, ...] = ()) -> BundleGallery:
    """Open what can be searched in one modality.

    Args:
        bundle: The bundle.
        modality: he, mif or text.
        excluded: Pseudonyms of patients who may not be found.

    Raises:
        UsageError: There is no such modality, or a patient is not in the bundle.
        BundleContentError: The bundle stores no vectors of this modality.
    """
    if modality not in MODALITIES:
        raise UsageError(f"--to {modality} is not one of {', '.join(MODALITIES)}.")
    atlas = open_atlas(bundle)
    cases = None if bundle.manifest.calibration is None else read_cases(bundle, atlas)
    check_excluded(bundle, excluded)
    allowed = patients_allowed(atlas, excluded)
    if modality == "mif":
        return _mif_gallery(atlas, allowed)
    if cases is None:
        bundle.manifest.need_calibration()
        raise AssertionError("unreachable")
    keep = ~np.isin(cases.patients, np.asarray(excluded, np.str_))
    if modality == "text":
        return _text_gallery(atlas, cases, keep)
    return _he_gallery(atlas, cases, keep, _sections(bundle, len(cases.patients)))


def _mif_gallery(atlas: Atlas, allowed: NDArray[np.bool_] | None) -> BundleGallery:
    def search(query: NDArray[np.float32], top: int) -> Found:
        found = atlas.index.search(query[None], top, allowed=allowed)
        return found.ids[0][found.ids[0] >= 0], found.scores[0][found.ids[0] >= 0]

    of = f"the {len(atlas.patches)} mIF patches of the atlas"
    names, patients, sections, organs = atlas.patches, atlas.patients, atlas.sections, atlas.organs
    return BundleGallery("mif", of, names, patients, sections, organs, atlas.markers, atlas.z, search, atlas)


def _he_gallery(
    atlas: Atlas, cases: CalibrationCases, keep: NDArray[np.bool_], sections: NDArray[np.str_]
) -> BundleGallery:
    number = len(np.unique(cases.patients))
    of = f"the {len(cases.patients)} H&E tiles of the {number} calibration patients; the bundle holds no others"
    names = np.array([f"tile {row}" for row in range(len(cases.patients))])
    empty = np.full(len(names), "")
    search = _exact(cases.he, keep)
    return BundleGallery("he", of, names, cases.patients, sections, empty, atlas.markers, cases.z, search, atlas)


def _text_gallery(atlas: Atlas, cases: CalibrationCases, keep: NDArray[np.bool_]) -> BundleGallery:
    if cases.text is None:
        raise BundleContentError("The bundle holds no vectors of notes. It has no text tower.")
    patients, rows = np.unique(cases.patients, return_index=True)
    empty = np.full(len(rows), "")
    of = f"the notes of the {len(rows)} calibration patients; the bundle holds no others, and not their words"
    z = np.full((len(rows), len(atlas.markers)), np.nan, np.float32)
    names = np.array([f"notes of {patient}" for patient in patients])
    search = _exact(cases.text[rows], keep[rows])
    return BundleGallery("text", of, names, patients, empty, empty, atlas.markers, z, search, atlas)


def _exact(vectors: NDArray[np.float32], keep: NDArray[np.bool_]) -> Callable[[NDArray[np.float32], int], Found]:
    index = ExactIndex(np.ascontiguousarray(vectors))

    def search(query: NDArray[np.float32], top: int) -> Found:
        found = index.search(query[None], top, allowed=keep)
        return found.ids[0][found.ids[0] >= 0], found.scores[0][found.ids[0] >= 0]

    return search


def _sections(bundle: Bundle, count: int) -> NDArray[np.str_]:
    """Sections of the calibration tiles, where the table states them."""
    table = pa.ipc.open_file(io.BytesIO(bundle.read(bundle.manifest.need_calibration().file))).read_all()
    if "section" not in table.column_names:
        return np.full(count, "")
    return np.asarray(table["section"].to_pylist(), np.str_)
