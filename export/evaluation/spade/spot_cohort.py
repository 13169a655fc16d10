"""Spots as vectors in several representations: what every part of the SPADE evaluation takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from haiku_edge.runtime.arrow import list_column, list_matrix
from haiku_edge.runtime.errors import CohortError, UnreadableDatasetError, UsageError

from ...heads.targets import UNKNOWN
from ..cohort_file import CohortFile, facts_in, names_in

SPADE = "SPADE"
"""Name of the representation that is judged, unless another is named."""

FEATURES = "image features"
ONE_EXPERT = "one expert"
RANDOM_CLUSTERS = "random clusters"
"""Names of the usual baselines: the frozen encoder, one pair of heads for all data, experts of random clusters."""

ORGAN = "organ"
"""Label that every spot has without any fact."""

_FILE = CohortFile(
    key=b"haiku_edge.spot_cohort",
    texts=("spots", "sections", "patients", "organs"),
    what="cohort of embedded spots",
    absent="Write one with `haiku-edge spots embed` first.",
    damaged="Write it again.",
)


@dataclass(frozen=True, slots=True)
class SpotCohort:
    """n spots of some patients, with what was measured there, as several models see them.

    A representation whose name is that of another, a comma and more words ('SPADE, hard') is a variant of it: variants
    are compared in routing, and are no baselines.

    Attributes:
        genes: Names of the g genes.
        spots: (n,) str, barcodes, each once in a section.
        sections: (n,) str.
        patients: (n,) str, pseudonyms.
        organs: (n,) str.
        x: (n,) float32, centre in the section, micrometres; NaN where not known.
        y: (n,) float32, centre in the section, micrometres; NaN where not known.
        vectors: Representation → (n, d) float32 of the spots' pictures, as the model gives them, of any length.
        keys: Representation → (n, d) float32 of the spots' expression in the same space, by the model's gene heads;
            only those that have them.
        expression: (n, g) float32, log-normalised.
        facts: Patient → clinical facts, in the notes' keys.
        expected: (n, g) float32, what the simulator's truth lets one expect; None for real tissue.
        taught: Representation → how many of the patients who were embedded it has learned from, where it is known to
            have learned from any.
    """

    genes: tuple[str, ...]
    spots: NDArray[np.str_]
    sections: NDArray[np.str_]
    patients: NDArray[np.str_]
    organs: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    vectors: Mapping[str, NDArray[np.float32]]
    keys: Mapping[str, NDArray[np.float32]]
    expression: NDArray[np.float32]
    facts: Mapping[str, Mapping[str, str]]
    expected: NDArray[np.float32] | None = None
    taught: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of spots."""
        return len(self.spots)

    @property
    def section_codes(self) -> NDArray[np.int64]:
        """(n,) number of each spot's section; sections of two patients are two, whatever they are called."""
        names = np.stack([self.patients, self.sections], axis=1)
        return np.asarray(np.unique(names, axis=0, return_inverse=True)[1], np.int64).ravel()

    def labels(self, key: str) -> NDArray[np.str_]:
        """(n,) the organ of each spot, or the fact `key` of its patient; '' where nobody knows, see `UNKNOWN`."""
        values = self.organs
        if key != ORGAN:
            values = np.array([self.facts.get(str(patient), {}).get(key, "") for patient in self.patients], np.str_)
        return np.where(np.isin(np.char.lower(values), sorted(UNKNOWN)), "", values)

    def baselines(self, subject: str) -> tuple[str, ...]:
        """The representations that a judged one is compared with: all but itself and variants.

        Raises:
            UsageError: There is no such representation.
        """
        if subject not in self.vectors:
            there = ", ".join(map(repr, self.vectors))
            raise UsageError(f"The cohort has no representation {subject!r}. It has {there}.")
        return tuple(name for name in self.vectors if name != subject and not self._is_variant(name))

    def variants(self, subject: str) -> tuple[str, ...]:
        """The representations that are variants of one."""
        return tuple(name for name in self.vectors if name.startswith(f"{subject}, "))

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> SpotCohort:
        """The cohort of these spots alone."""
        columns = {name: getattr(self, name)[rows] for name in (*_FILE.texts, "x", "y", "expression")}
        patients = set(columns["patients"].tolist())
        return replace(
            self,
            **columns,
            vectors={name: matrix[rows] for name, matrix in self.vectors.items()},
            keys={name: matrix[rows] for name, matrix in self.keys.items()},
            facts={patient: own for patient, own in self.facts.items() if patient in patients},
            expected=None if self.expected is None else self.expected[rows],
        )

    def _is_variant(self, name: str) -> bool:
        return any(name.startswith(f"{other}, ") for other in self.vectors)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d) float32 vectors at length 1; a vector of length 0 stays."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0), np.float32)


def write_spot_cohort(path: Path, cohort: SpotCohort) -> None:
    """Write one Parquet file, whole or not at all.

    Raises:
        CohortError: The columns do not fit each other.
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    if fault := _fault(cohort):
        raise CohortError(f"The spots can't be written as a cohort: {fault}. Embed them again.")
    tables = {"expression": cohort.expression} | ({} if cohort.expected is None else {"expected": cohort.expected})
    vectors = {f"vector {name}": matrix for name, matrix in cohort.vectors.items()}
    keys = {f"key {name}": matrix for name, matrix in cohort.keys.items()}
    about = {
        "genes": cohort.genes,
        "vectors": list(cohort.vectors),
        "keys": list(cohort.keys),
        "facts": {patient: dict(own) for patient, own in cohort.facts.items()},
        "taught": dict(cohort.taught),
    }
    matrices = {name: list_column(matrix) for name, matrix in {**tables, **vectors, **keys}.items()}
    _FILE.write(path, cohort, matrices, about)


def read_spot_cohort(path: Path) -> SpotCohort:
    """Read what `write_spot_cohort` wrote.

    Raises:
        UnreadableDatasetError: Not there, or not such a file.
    """
    cohort = _FILE.read(path, _cohort)
    if fault := _fault(cohort):
        raise UnreadableDatasetError(f"{path.name} can't be used: {fault}. Write it again.")
    return cohort


def _cohort(table: pa.Table, about: Mapping[str, Any]) -> SpotCohort:
    return SpotCohort(
        **_FILE.rows(table),
        genes=names_in(about, "genes"),
        vectors={name: list_matrix(table, f"vector {name}", np.float32) for name in names_in(about, "vectors")},
        keys={name: list_matrix(table, f"key {name}", np.float32) for name in names_in(about, "keys")},
        expression=list_matrix(table, "expression", np.float32),
        facts=facts_in(about),
        expected=list_matrix(table, "expected", np.float32) if "expected" in table.column_names else None,
        taught={str(name): int(count) for name, count in about.get("taught", {}).items()},
    )


def _fault(cohort: SpotCohort) -> str | None:
    """What is wrong with the columns, as a part of a sentence; None where nothing is."""
    count, width = len(cohort), len(cohort.genes)
    if not count or not cohort.vectors:
        return "there are no spots or no vectors"
    columns = [getattr(cohort, name) for name in (*_FILE.texts[1:], "x", "y")]
    matrices = [*cohort.vectors.values(), *cohort.keys.values()]
    if any(len(column) != count for column in (*columns, *matrices)):
        return "not all columns have one row a spot"
    tables = [cohort.expression] if cohort.expected is None else [cohort.expression, cohort.expected]
    if any(table.shape != (count, width) for table in tables):
        return f"expression is not a number for each of {count} spots and {width} genes"
    if any(name not in cohort.vectors or cohort.vectors[name].shape != key.shape for name, key in cohort.keys.items()):
        return "keys of expression are not of the same length as the vectors of the pictures"
    if not all(np.isfinite(matrix).all() for matrix in (*matrices, *tables)):
        return "some vectors or expressions are not finite"
    if len(np.unique(np.stack([cohort.patients, cohort.sections, cohort.spots], axis=1), axis=0)) < count:
        return "a spot is there twice"
    return None
