"""An atlas of real spots, and the patients who calibrate it, from spots as a mixture sees them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from haiku_edge.runtime.arrow import list_column, table_bytes
from haiku_edge.runtime.atlas import PatchTable, PictureTable
from haiku_edge.runtime.atlas.open import standardise
from haiku_edge.runtime.bundle import AtlasSection, CalibrationSection, ExpertSection, KnownPatients
from haiku_edge.runtime.errors import CohortError
from haiku_edge.runtime.inference.conformal import least_patients
from haiku_edge.runtime.inference.progress import Progress, Silent

from ..atlas.files import FOLDERS, assemble_files
from ..atlas.index import IndexKind
from ..evaluation.spade import SPADE
from ..evaluation.spade.retrieval import Keys
from ..evaluation.spade.spot_cohort import unit_rows
from ..spatial import SpotDataset, decode_patch
from .embed import EmbeddedSpots

CALIBRATION_FILE: Final = f"{FOLDERS['gene']}/calibration.arrow"
COVERAGE: Final = 0.9
POSITIVITY: Final = "A gene counts as positive where at least one molecule of it was counted."
PICTURE_SIDE: Final = 112
"""Pixels of a spot's H&E in the atlas: at 112 µm, 1 µm each."""

_QUALITY = 55
_NAMED_GENES = 8
_NAMED_ORGANS = 4


@dataclass(frozen=True, slots=True)
class SpotEvidence:
    """The evidence of a bundle.

    Attributes:
        contents: Path in the bundle → bytes.
        atlas: For the manifest.
        calibration: For the manifest; None without cases.
        keys: What the atlas's vectors are.
        neighbours: Spots behind each tile.
        experts: What each expert stands for.
    """

    contents: dict[str, bytes]
    atlas: AtlasSection
    calibration: CalibrationSection | None
    keys: Keys
    neighbours: int
    experts: tuple[ExpertSection, ...]


def build_evidence(
    spots: EmbeddedSpots,
    dataset: SpotDataset,
    cases: EmbeddedSpots | None,
    *,
    keys: Keys,
    neighbours: int,
    index: IndexKind = "auto",
    progress: Progress | None = None,
) -> SpotEvidence:
    """Build atlas and calibration.

    Args:
        spots: The spots that become evidence.
        dataset: Where their pictures are.
        cases: Spots of other patients, who calibrate; None for nobody.
        keys: What is searched: pictures or expression.
        neighbours: Spots behind each tile.
        index: How the atlas is searched.
        progress: Told about every spot.

    Raises:
        CohortError: A patient is in the atlas and calibrates too.
        DeviceUnavailableError, BundleContentError, DiskFullError: See `assemble_files`.
    """
    cohort = spots.cohort
    if cases is not None and set(cases.cohort.patients.tolist()) & set(cohort.patients.tolist()):
        raise CohortError("A patient of the atlas of spots can't calibrate it. Name other patients.")
    held = cohort.vectors[SPADE] if keys == "image" else cohort.keys[SPADE]
    pictures, table = _table(spots, dataset, progress or Silent())
    built = assemble_files(
        unit_rows(held),
        cohort.genes,
        table,
        pictures,
        positivity=POSITIVITY,
        facts={patient: dict(facts) for patient, facts in cohort.facts.items() if facts},
        index=index,
        measure="gene",
    )
    contents, section = dict(built.contents), None
    if cases is not None:
        contents[CALIBRATION_FILE] = _calibration_table(cases)
        patients = len(set(cases.cohort.patients.tolist()))
        section = CalibrationSection(
            file=CALIBRATION_FILE, coverage=COVERAGE, patients=patients, cases=len(cases.cohort)
        )
    return SpotEvidence(contents, built.section, section, keys, neighbours, describe_experts(spots))


def split_calibrating(
    spots: EmbeddedSpots, known: KnownPatients, *, share: float, seed: int, least: int = 5
) -> tuple[EmbeddedSpots, EmbeddedSpots | None, str]:
    """Set some patients aside who calibrate: patients of whom the experts did not learn.

    Args:
        spots: All spots.
        known: Whom the experts learned from.
        share: Of the patients.
        seed: Of the draw.
        least: Fewest patients who must stay and be free to calibrate.

    Returns:
        Evidence, cases or None, and what was done in one sentence.
    """
    patients = np.unique(spots.cohort.patients)
    free = patients[~np.isin(patients, np.array(known.among(patients.tolist()), np.str_))]
    count = min(round(share * len(patients)), len(free))
    if not count or len(free) < least or len(patients) - count < least:
        said = f"With {_patients(len(free))} whom the experts do not know, none calibrates"
        return spots, None, f"{said}, and no value has an interval. Name spots of others with --calibration."
    chosen = np.random.default_rng(seed).choice(free, count, replace=False)
    calibrates = np.isin(spots.cohort.patients, chosen)
    said = f"{count} of {_patients(len(patients))}, drawn with seed {seed}, {_calibrate(count)}{_too_few(count) or '.'}"
    return spots.select(~calibrates), spots.select(calibrates), said


def remark_on_cases(cases: EmbeddedSpots, name: str) -> str | None:
    """What a reader should know of the spots that calibrate, from a dataset of this name: their patients are too few.

    None where they are enough for intervals.
    """
    count = len(np.unique(cases.cohort.patients))
    few = _too_few(count)
    return few and f"{_patients(count)} of {name} {_calibrate(count)}{few}"


def _too_few(patients: int) -> str | None:
    """The end of a sentence that tells how many calibrate, where that is too few for intervals."""
    needed = least_patients(COVERAGE)
    if patients >= needed:
        return None
    return (
        f", which is too few for any interval of {COVERAGE * 100:g} %: {needed} patients are needed. "
        "Name spots of more patients with --calibration."
    )


def _calibrate(count: int) -> str:
    return "calibrates" if count == 1 else "calibrate"


def _patients(count: int) -> str:
    return f"{count} patient{'' if count == 1 else 's'}"


def describe_experts(spots: EmbeddedSpots) -> tuple[ExpertSection, ...]:
    """What each expert stands for: the spots in which it weighs most."""
    heaviest = spots.experts.argmax(axis=1)
    _, _, z = standardise(spots.cohort.expression)
    return tuple(_expert(spots, z, heaviest == number) for number in range(spots.experts.shape[1]))


def _expert(spots: EmbeddedSpots, z: NDArray[np.float32], own: NDArray[np.bool_]) -> ExpertSection:
    if not own.any():
        return ExpertSection(spots=0)
    cohort, mean = spots.cohort, np.nan_to_num(z[own].mean(axis=0, dtype=np.float64))
    organs = Counter(cohort.organs[own].tolist()).most_common(_NAMED_ORGANS)
    highest = [int(gene) for gene in np.argsort(-mean, kind="stable")[:_NAMED_GENES] if mean[gene] > 0]
    return ExpertSection(
        spots=int(own.sum()),
        organs=tuple(organ for organ, _ in organs),
        genes=tuple(cohort.genes[gene] for gene in highest),
    )


def _table(spots: EmbeddedSpots, dataset: SpotDataset, progress: Progress) -> tuple[bytes, PatchTable]:
    """The pictures, one after another, and the table of the spots."""
    cohort, data = spots.cohort, bytearray()
    places = np.zeros((2, len(cohort)), np.int64)
    progress.start("Pictures of spots", len(cohort))
    for row, picture in enumerate(_pictures(spots, dataset)):
        places[:, row] = len(data), len(picture)
        data += picture
        progress.advance(1)
    progress.finish()
    shape = cohort.expression.shape
    none = np.zeros(shape, np.int64)
    pictures = PictureTable(places[0], places[1], none, none, PICTURE_SIDE, PICTURE_SIDE, {}, {})
    half = dataset.size * dataset.mpp / 2
    table = PatchTable(
        patches=np.char.add(np.char.add(cohort.sections, "/"), cohort.spots),
        sections=cohort.sections,
        patients=cohort.patients,
        organs=cohort.organs,
        panels=np.full(shape[0], f"{shape[1]} genes"),
        x=cohort.x - np.float32(half),
        y=cohort.y - np.float32(half),
        expression=cohort.expression,
        positive=(cohort.expression > 0).astype(np.float32),
        pictures=pictures,
    )
    return bytes(data), table


def _pictures(spots: EmbeddedSpots, dataset: SpotDataset) -> Iterator[bytes]:
    """WebP pictures of the spots, in their order: sections lie together."""
    section, rows, patches = "", {}, None
    for name, spot in zip(spots.cohort.sections.tolist(), spots.cohort.spots.tolist(), strict=True):
        if name != section:
            read = dataset.read(name)
            section, patches = name, read.patches
            rows = {barcode: row for row, barcode in enumerate(read.spots.tolist())}
        assert patches is not None
        image = Image.fromarray(decode_patch(patches[rows[spot]]))
        sink = io.BytesIO()
        image.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BOX).save(sink, "WEBP", quality=_QUALITY, method=4)
        yield sink.getvalue()


def _calibration_table(cases: EmbeddedSpots) -> bytes:
    """The cases as an Arrow file, one row a spot: patient, section, he (the embedding at length 1), expression."""
    cohort = cases.cohort
    return table_bytes(
        pa.table(
            {
                "patient": pa.array(cohort.patients.tolist(), pa.string()),
                "section": pa.array(cohort.sections.tolist(), pa.string()),
                "he": list_column(unit_rows(cohort.vectors[SPADE])),
                "expression": list_column(cohort.expression),
            }
        )
    )
