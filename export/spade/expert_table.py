"""The spots that one expert learns from, in files that are mapped and not read: features and counts, row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import csr_matrix

_SIZES = "table.json"
_FEATURES, _VALUES, _COLUMNS, _LENGTHS, _HELD_OUT = (
    "features.f32",
    "values.f32",
    "columns.i32",
    "lengths.i64",
    "held.u8",
)


Number = TypeVar("Number", np.float32, np.int32)


@dataclass(frozen=True, slots=True)
class SpotTable:
    """Spots of one expert.

    Attributes:
        features: (n, D) float32, mapped.
        values: (entries,) float32, mapped: what is not zero of the counts, row by row.
        columns: (entries,) int32, mapped: the gene of each.
        starts: (n + 1,) int64: where each row's entries begin, and the last ends.
        genes: Number of genes.
        held_out: (n,) bool, whether a spot is of a patient who judges.
    """

    features: NDArray[np.float32]
    values: NDArray[np.float32]
    columns: NDArray[np.int32]
    starts: NDArray[np.int64]
    genes: int
    held_out: NDArray[np.bool_]

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), genes) float32 counts of some spots."""
        dense = np.zeros((len(rows), self.genes), np.float32)
        for line, row in zip(dense, rows, strict=True):
            entries = slice(self.starts[row], self.starts[row + 1])
            line[self.columns[entries]] = self.values[entries]
        return dense


def append_spots(folder: Path, features: NDArray[np.float32], counts: csr_matrix, held_out: NDArray[np.bool_]) -> None:
    """Add spots to a table.

    Args:
        folder: The table's folder, which is made where it is missing.
        features: (n, D) float32.
        counts: (n, genes) as the gene head takes them.
        held_out: (n,) whether each spot judges.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SIZES).write_text(json.dumps({"features": features.shape[1], "genes": counts.shape[1]}))
    _append(folder / _FEATURES, features, np.float32)
    _append(folder / _VALUES, counts.data, np.float32)
    _append(folder / _COLUMNS, counts.indices, np.int32)
    _append(folder / _LENGTHS, np.diff(counts.indptr), np.int64)
    _append(folder / _HELD_OUT, held_out, np.uint8)


def open_table(folder: Path) -> SpotTable:
    """Map the table that `append_spots` made."""
    sizes = json.loads((folder / _SIZES).read_text())
    lengths: NDArray[np.int64] = np.fromfile(folder / _LENGTHS, np.int64)
    return SpotTable(
        features=_mapped(folder / _FEATURES, np.float32).reshape(-1, sizes["features"]),
        values=_mapped(folder / _VALUES, np.float32),
        columns=_mapped(folder / _COLUMNS, np.int32),
        starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        genes=sizes["genes"],
        held_out=np.fromfile(folder / _HELD_OUT, np.uint8).astype(bool),
    )


def _append(path: Path, values: NDArray[np.generic], dtype: DTypeLike) -> None:
    with path.open("ab") as stream:
        stream.write(np.ascontiguousarray(values, dtype).tobytes())


def _mapped(path: Path, dtype: type[Number]) -> NDArray[Number]:
    """A file as an array; an empty one can't be mapped."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)
