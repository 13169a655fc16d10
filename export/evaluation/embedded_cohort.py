"""A cohort as vectors: what every task of the evaluation takes, whatever bundle or data it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from haiku_edge.runtime.arrow import list_column, list_matrix
from haiku_edge.runtime.errors import UnreadableDatasetError

from .cohort_file import CohortFile, facts_in, names_in

MODALITIES = ("he", "mif", "text", "caption")
"""Vectors that a cohort may have: of the H&E tile, of the mIF patch, of the notes alone, of the full caption."""

_MATRICES = ("expression", "positive", "expected")
_FILE = CohortFile(
    key=b"haiku_edge.cohort",
    texts=("patches", "regions", "patients"),
    what="cohort of this program",
    absent="Make a cohort with `haiku-edge embed`.",
    damaged="Make one with `haiku-edge embed`.",
)


@dataclass(frozen=True, slots=True)
class EmbeddedCohort:
    """n patches of some patients, as one model embeds them.

    Attributes:
        markers: Names of the m markers.
        patches: (n,) str, identifiers.
        regions: (n,) str.
        patients: (n,) str, pseudonyms.
        x: (n,) float32, left edge in the region, micrometres; NaN where not known.
        y: (n,) float32, top edge in the region, micrometres; NaN where not known.
        side: Side of a patch in micrometres, or None where not known.
        vectors: Modality → (n, d) float32 unit vectors; only the modalities that are there.
        expression: (n, m) float32, mean intensity; NaN where not measured.
        positive: (n, m) float32, 1 or 0; NaN where not measured or not known.
        facts: Patient → clinical facts, in the notes' keys.
        expected: (n, m) float32, what the simulator's truth lets one expect; None for real tissue.
        notes_keys: Facts that the notes' vectors (`text`) saw in any patch; None where that is not known.
    """

    markers: tuple[str, ...]
    patches: NDArray[np.str_]
    regions: NDArray[np.str_]
    patients: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    side: float | None
    vectors: Mapping[str, NDArray[np.float32]]
    expression: NDArray[np.float32]
    positive: NDArray[np.float32]
    facts: Mapping[str, Mapping[str, str]]
    expected: NDArray[np.float32] | None = None
    notes_keys: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.patches)

    def labels(self, key: str) -> NDArray[np.str_]:
        """(n,) the fact `key` of each patch's patient; '' where the notes lack it."""
        return np.array([self.facts.get(str(patient), {}).get(key, "") for patient in self.patients], np.str_)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> EmbeddedCohort:
        """The cohort of these patches alone."""
        columns = {name: getattr(self, name)[rows] for name in (*_FILE.texts, "x", "y", "expression", "positive")}
        patients = set(columns["patients"].tolist())
        return replace(
            self,
            **columns,
            vectors={name: matrix[rows] for name, matrix in self.vectors.items()},
            facts={patient: own for patient, own in self.facts.items() if patient in patients},
            expected=None if self.expected is None else self.expected[rows],
        )


def write_cohort(path: Path, cohort: EmbeddedCohort) -> None:
    """Write one Parquet file, whole or not at all.

    Raises:
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    measured = {name: getattr(cohort, name) for name in _MATRICES}
    matrices = {name: list_column(matrix) for name, matrix in measured.items() if matrix is not None}
    vectors = {f"vector_{name}": list_column(matrix) for name, matrix in cohort.vectors.items()}
    about = {
        "markers": cohort.markers,
        "side": cohort.side,
        "facts": {patient: dict(own) for patient, own in cohort.facts.items()},
        "notes_keys": cohort.notes_keys,
    }
    _FILE.write(path, cohort, {**matrices, **vectors}, about)


def read_cohort(path: Path) -> EmbeddedCohort:
    """Read what `write_cohort` wrote.

    Raises:
        UnreadableDatasetError: Not there, or not such a file.
    """
    cohort = _FILE.read(path, _cohort)
    _check(cohort, path.name)
    return cohort


def _cohort(table: pa.Table, about: Mapping[str, Any]) -> EmbeddedCohort:
    vectors = {name: f"vector_{name}" for name in MODALITIES}
    return EmbeddedCohort(
        **_FILE.rows(table),
        markers=names_in(about, "markers"),
        side=about["side"],
        vectors={
            name: list_matrix(table, column, np.float32)
            for name, column in vectors.items()
            if column in table.column_names
        },
        expression=list_matrix(table, "expression", np.float32),
        positive=list_matrix(table, "positive", np.float32),
        facts=facts_in(about),
        expected=list_matrix(table, "expected", np.float32) if "expected" in table.column_names else None,
        notes_keys=None if about.get("notes_keys") is None else names_in(about, "notes_keys"),
    )


def _check(cohort: EmbeddedCohort, name: str) -> None:
    count, width = len(cohort), len(cohort.markers)
    shapes = {cohort.expression.shape, cohort.positive.shape}
    finite = all(np.isfinite(matrix).all() for matrix in cohort.vectors.values())
    if not count or not cohort.vectors or shapes != {(count, width)} or not finite:
        raise UnreadableDatasetError(f"{name} holds no patches, no vectors, or columns that do not fit each other.")
