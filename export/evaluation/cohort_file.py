"""A cohort on disk: one Parquet file, a row a patch or spot, and what is true of all rows as JSON beside its schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from haiku_edge.runtime.atomic import atomic_open
from haiku_edge.runtime.errors import UnreadableDatasetError

_T = TypeVar("_T")
_PLACES = ("x", "y")


@dataclass(frozen=True, slots=True)
class CohortFile:
    """One kind of cohort on disk.

    Attributes:
        key: Of the JSON in the schema's metadata; no other kind has it.
        texts: Columns of text that every row has. The places `x` and `y`, float32, stand beside them.
        what: What messages call the kind.
        absent: What to do where there is no file: a sentence.
        damaged: What to do where it is another file, or a damaged one: a sentence.
    """

    key: bytes
    texts: tuple[str, ...]
    what: str
    absent: str
    damaged: str

    def write(self, path: Path, cohort: object, matrices: Mapping[str, pa.Array], about: Mapping[str, object]) -> None:
        """Write one file, whole or not at all.

        Args:
            path: The file.
            cohort: Has the texts and places as attributes, (n,) each.
            matrices: The other columns.
            about: What is true of all rows, as JSON values.

        Raises:
            OutputNotWritableError, DiskFullError: It can't be written.
        """
        texts = {name: pa.array(getattr(cohort, name).tolist(), pa.string()) for name in self.texts}
        places = {name: pa.array(getattr(cohort, name), pa.float32()) for name in _PLACES}
        table = pa.table({**texts, **places, **matrices})
        with atomic_open(path) as stream:
            pq.write_table(table.replace_schema_metadata({self.key: json.dumps(about).encode()}), stream)

    def read(self, path: Path, parse: Callable[[pa.Table, Mapping[str, Any]], _T]) -> _T:
        """Read a file.

        Args:
            path: The file.
            parse: Makes the cohort of table and JSON. What it can't make sense of counts as damage.

        Raises:
            UnreadableDatasetError: Not there, or not such a file.
        """
        if path.is_dir():
            raise UnreadableDatasetError(f"{path} is a folder, and a {self.what} is a file. {self.absent}")
        if not path.is_file():
            raise UnreadableDatasetError(f"There is no file {path}. {self.absent}")
        try:
            table = pq.read_table(path).combine_chunks()
            return parse(table, json.loads((table.schema.metadata or {})[self.key]))
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError):
            raise UnreadableDatasetError(f"{path.name} is no {self.what}, or a damaged one. {self.damaged}") from None

    def rows(self, table: pa.Table) -> dict[str, Any]:
        """The texts, (n,) str, and the places, (n,) float32, by their names."""
        texts = {name: np.array(table[name].to_pylist(), np.str_) for name in self.texts}
        return {**texts, **{name: np.asarray(table[name].to_numpy(), np.float32) for name in _PLACES}}


def names_in(about: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The list of names that the JSON holds under a key.

    Raises:
        TypeError: It holds something else.
    """
    names = about[key]
    if not isinstance(names, list):
        raise TypeError(f"{key} is no list of names")
    return tuple(map(str, names))


def facts_in(about: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Patient → clinical facts, as the JSON holds them."""
    return {str(patient): dict(own) for patient, own in about["facts"].items()}
