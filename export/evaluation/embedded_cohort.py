"""A cohort as vectors: what every task of the evaluation takes, whatever bundle or data it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from haiku_edge.runtime.arrow import list_column, list_matrix
from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.errors import UnreadableDatasetError

MODALITIES = ("he", "mif", "text", "caption")
"""Vectors that a cohort may have: of the H&E tile, of the mIF patch, of the notes alone, of the full caption."""

_KEY = b"haiku_edge.cohort"
_TEXTS = ("patches", "regions", "patients")
_MATRICES = ("expression", "positive", "expected")


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
        columns = {name: getattr(self, name)[rows] for name in (*_TEXTS, "x", "y", "expression", "positive")}
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
    columns: dict[str, pa.Array] = {name: pa.array(getattr(cohort, name).tolist(), pa.string()) for name in _TEXTS}
    columns |= {"x": pa.array(cohort.x, pa.float32()), "y": pa.array(cohort.y, pa.float32())}
    for name in _MATRICES:
        if (matrix := getattr(cohort, name)) is not None:
            columns[name] = list_column(matrix)
    columns |= {f"vector_{name}": list_column(matrix) for name, matrix in cohort.vectors.items()}
    about = {
        "markers": cohort.markers,
        "side": cohort.side,
        "facts": {patient: dict(own) for patient, own in cohort.facts.items()},
        "notes_keys": cohort.notes_keys,
    }
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    atomic_write(path, bytes(sink.getvalue()))


def read_cohort(path: Path) -> EmbeddedCohort:
    """Read what `write_cohort` wrote.

    Raises:
        UnreadableDatasetError: Not there, or not such a file.
    """
    if not path.is_file():
        raise UnreadableDatasetError(f"There is no file {path}. Make a cohort with `haiku-edge embed`.")
    try:
        table = pq.read_table(path).combine_chunks()
        about = json.loads((table.schema.metadata or {})[_KEY])
        matrices = {name: list_matrix(table, name, np.float32) for name in _MATRICES if name in table.column_names}
        vectors = {
            name: list_matrix(table, f"vector_{name}", np.float32)
            for name in MODALITIES
            if f"vector_{name}" in table.column_names
        }
        cohort = EmbeddedCohort(
            markers=tuple(map(str, about["markers"])),
            patches=_strings(table, "patches"),
            regions=_strings(table, "regions"),
            patients=_strings(table, "patients"),
            x=np.asarray(table["x"].to_numpy(), np.float32),
            y=np.asarray(table["y"].to_numpy(), np.float32),
            side=about["side"],
            vectors=vectors,
            facts={str(patient): dict(own) for patient, own in about["facts"].items()},
            expression=matrices["expression"],
            positive=matrices["positive"],
            expected=matrices.get("expected"),
            notes_keys=None if about.get("notes_keys") is None else tuple(map(str, about["notes_keys"])),
        )
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError):
        raise UnreadableDatasetError(
            f"{path.name} is no cohort of this program, or a damaged one. Make one with `haiku-edge embed`."
        ) from None
    _check(cohort, path.name)
    return cohort


def _check(cohort: EmbeddedCohort, name: str) -> None:
    count, width = len(cohort), len(cohort.markers)
    shapes = {cohort.expression.shape, cohort.positive.shape}
    finite = all(np.isfinite(matrix).all() for matrix in cohort.vectors.values())
    if not count or not cohort.vectors or shapes != {(count, width)} or not finite:
        raise UnreadableDatasetError(f"{name} holds no patches, no vectors, or columns that do not fit each other.")


def _strings(table: pa.Table, name: str) -> NDArray[np.str_]:
    return np.array(table[name].to_pylist(), np.str_)
