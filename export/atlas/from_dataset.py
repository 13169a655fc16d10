"""An atlas and its calibration patients from an embedded dataset, as the bytes of a bundle's files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from haiku_edge.runtime.arrow import list_column, table_bytes
from haiku_edge.runtime.bundle import AtlasSection, CalibrationSection, Description, KnownPatients
from haiku_edge.runtime.errors import CohortError, PanelError

from ..dataset.folder import FolderDataset
from ..vocabulary import canonical_marker
from .build import Provenance, build_atlas
from .index import IndexKind
from .positivity import OTSU_RULE
from .trained_on import refuse_trained_on, remarks_on_trained

if TYPE_CHECKING:
    from ..dataset import PatchDataset
    from ..evaluation.embedded_cohort import EmbeddedCohort

CALIBRATION_FILE = "calibration/cases.arrow"
COVERAGE = 0.9
CALIBRATION_SHARE = 0.3
"""Share of the patients set aside for calibration where the dataset does not say who they are."""

LEAST_PATIENTS = 10
"""Below this no one is set aside: with fewer than three calibration patients no interval is finite, and the atlas needs
the rest."""

LEAST_CALIBRATING = 3
"""Fewest patients that are worth setting aside."""

_ORGAN_KEYS = ("tissue_type", "tissue")
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AtlasParts:
    """What an atlas adds to a bundle.

    Attributes:
        contents: Path in the bundle → bytes.
        section: For `Description.atlas`.
        calibration: For `Description.calibration`, or None where nobody was set aside.
        remarks: How the patients were split, in sentences.
    """

    contents: dict[str, bytes]
    section: AtlasSection
    calibration: CalibrationSection | None
    remarks: tuple[str, ...]

    def described(self, description: Description) -> Description:
        """The description of a bundle that has these parts."""
        return description.model_copy(update={"atlas": self.section, "calibration": self.calibration})


@dataclass(frozen=True, slots=True)
class Split:
    """Who is evidence, and who calibrates.

    Attributes:
        atlas: (n,) bool, patches of the atlas.
        calibration: (n,) bool, patches of the calibration patients.
        remarks: How they were chosen, in sentences.
    """

    atlas: NDArray[np.bool_]
    calibration: NDArray[np.bool_]
    remarks: tuple[str, ...]


def atlas_from_dataset(
    dataset: PatchDataset,
    cohort: EmbeddedCohort,
    *,
    seed: int = 0,
    calibration_share: float = CALIBRATION_SHARE,
    index: IndexKind = "auto",
    known: KnownPatients | None = None,
) -> AtlasParts:
    """Build an atlas, and the calibration table of patients who are not in it.

    Args:
        dataset: The patches, for their pictures.
        cohort: The same patches embedded, row by row.
        seed: Draws the calibration patients where the dataset does not name them.
        calibration_share: Share of the patients drawn for calibration; 0 for none.
        index: How the atlas is searched.
        known: Whom the towers learned from; None where nobody says.

    Raises:
        CohortError: No patch may be evidence, the cohort has no mIF vectors, or the towers learned from a patient who
            is to calibrate.
        UsageError, BundleContentError, DeviceUnavailableError: See `build_atlas`.
    """
    if "mif" not in cohort.vectors or len(dataset) != len(cohort):
        raise CohortError(
            f"{dataset.name} has no mIF vectors, or not as many as the cohort has patches. An atlas is made of mIF."
        )
    split = split_patients(dataset, cohort, seed=seed, share=calibration_share, known=known)
    rows = np.flatnonzero(split.atlas)
    kept = cohort.select(rows)
    built = build_atlas(
        kept.vectors["mif"],
        kept.markers,
        PatchesOfDataset(dataset, rows, cohort.markers),
        kept.expression,
        provenance_of(kept),
        index=index,
        positive=kept.positive,
        positivity=positivity_of(dataset),
        facts={patient: dict(facts) for patient, facts in kept.facts.items() if facts},
    )
    if not split.calibration.any():
        return AtlasParts(dict(built.contents), built.section, None, split.remarks)
    cases = cohort.select(np.flatnonzero(split.calibration))
    contents = {**built.contents, CALIBRATION_FILE: calibration_table(cases)}
    return AtlasParts(contents, built.section, calibration_section(cases), split.remarks)


class PatchesOfDataset:
    """The mIF of some rows of a dataset, read as often as it is asked for, with a channel for each marker."""

    def __init__(self, dataset: PatchDataset, rows: NDArray[np.int64], markers: tuple[str, ...]) -> None:
        """Take the dataset; nothing is read yet."""
        self._dataset, self._rows, self._markers = dataset, rows, markers
        self._columns: dict[str, int | None] = {marker: place for place, marker in enumerate(markers)}

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Iterate over (m, 256, 256) uint8 patches; 0 where not measured."""
        for row in self._rows:
            sample = self._dataset[int(row)]
            assert sample.mif is not None
            patch = np.zeros((len(self._markers), *sample.mif.shape[1:]), np.uint8)
            for marker, channel in zip(sample.markers, sample.mif, strict=True):
                if (column := self._column(marker)) is not None:
                    patch[column] = channel
            yield patch

    def _column(self, marker: str) -> int | None:
        """The column of a marker, which the cohort may have under its model's own spelling."""
        if marker not in self._columns:
            try:
                known = canonical_marker(marker, self._markers)
            except PanelError:
                known = None
            self._columns[marker] = None if known is None else self._markers.index(known)
        return self._columns[marker]


def split_patients(
    dataset: PatchDataset, cohort: EmbeddedCohort, *, seed: int, share: float, known: KnownPatients | None = None
) -> Split:
    """Who is evidence and who calibrates: as the dataset says, else by a seeded draw of whole patients.

    Patients with the role test are in neither. Calibration needs H&E, since H&E is what asks, and patients that the
    towers did not learn from.

    Raises:
        CohortError: No patch may be evidence, or the towers learned from a patient who is to calibrate.
    """
    seen = known or KnownPatients()
    refuse_trained_on(dataset, seen)
    split = _split(dataset, cohort, seed, share, seen)
    said = remarks_on_trained(dataset, seen, cohort.patients[split.atlas].tolist())
    return replace(split, remarks=split.remarks + said)


def _split(dataset: PatchDataset, cohort: EmbeddedCohort, seed: int, share: float, known: KnownPatients) -> Split:
    roles = dataset.measurements.roles if isinstance(dataset, FolderDataset) else np.full(len(cohort), "", np.str_)
    evidence = np.isin(roles, ("", "atlas"))
    named = roles == "calibration"
    if not evidence.any():
        raise CohortError(f"No patch of {dataset.name} may be evidence: all have the role calibration or test.")
    if "he" not in cohort.vectors:
        return Split(evidence, np.zeros(len(cohort), np.bool_), ("Without H&E nobody can calibrate.",))
    if named.any():
        count = len(set(cohort.patients[named].tolist()))
        return Split(evidence, named, (f"{count} patients calibrate, as the dataset says.",))
    patients = np.unique(cohort.patients[evidence])
    unseen = patients[~np.isin(patients, np.array(known.among(patients.tolist()), np.str_))]
    count = min(round(share * len(patients)), len(unseen))
    if len(patients) < LEAST_PATIENTS or len(unseen) < LEAST_CALIBRATING or not count:
        who = "patients" if len(unseen) == len(patients) else "patients that the towers did not learn from"
        why = f"With {len(unseen)} {who} none of them is set aside for calibration."
        return Split(evidence, np.zeros(len(cohort), np.bool_), (why,))
    chosen = np.random.default_rng(seed).choice(unseen, count, replace=False)
    calibrates = evidence & np.isin(cohort.patients, chosen)
    drawn = f"{count} of {len(patients)} patients, drawn with seed {seed}, calibrate."
    return Split(evidence & ~calibrates, calibrates, (drawn,))


def positivity_of(dataset: PatchDataset) -> str:
    """When a patch of a dataset counts as positive, in one sentence."""
    stated = dataset.measurements.positivity if isinstance(dataset, FolderDataset) else None
    # The rule was applied to the whole dataset, some of which may calibrate.
    return stated or OTSU_RULE.replace("the atlas patches", "all patches of the dataset")


def provenance_of(cohort: EmbeddedCohort) -> Provenance:
    """Where the patches of a cohort come from."""
    organs = [_organ(cohort, str(patient)) for patient in cohort.patients]
    panels = [f"{int(count)}-plex" for count in np.isfinite(cohort.expression).sum(axis=1)]
    return Provenance(
        tuple(cohort.patches.tolist()),
        tuple(cohort.regions.tolist()),
        tuple(cohort.patients.tolist()),
        tuple(organs),
        tuple(panels),
        x=cohort.x,
        y=cohort.y,
    )


def _organ(cohort: EmbeddedCohort, patient: str) -> str:
    facts = cohort.facts.get(patient, {})
    return next((facts[key] for key in _ORGAN_KEYS if facts.get(key)), _UNKNOWN)


def calibration_table(cases: EmbeddedCohort) -> bytes:
    """The calibration cases as an Arrow file, one row a patch.

    Columns: patient and section (string), he and, where there is a text tower, text (fixed-size lists of float32),
    expression (fixed-size list of float32, mean intensity, NaN where not measured, in the order of the markers).
    """
    columns = {
        "patient": pa.array(cases.patients.tolist(), pa.string()),
        "section": pa.array(cases.regions.tolist(), pa.string()),
        "he": list_column(cases.vectors["he"]),
    }
    if "text" in cases.vectors:
        columns["text"] = list_column(cases.vectors["text"])
    return table_bytes(pa.table({**columns, "expression": list_column(cases.expression)}))


def calibration_section(cases: EmbeddedCohort) -> CalibrationSection:
    """The manifest's section for `calibration_table`."""
    return CalibrationSection(
        file=CALIBRATION_FILE,
        coverage=COVERAGE,
        patients=len(set(cases.patients.tolist())),
        cases=len(cases),
    )
