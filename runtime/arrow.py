"""Arrow tables: arrays of two axes as columns of lists of one length, and a table as the bytes of a file."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)


def list_column(matrix: NDArray[Any], kind: type[np.generic] = np.float32) -> pa.Array:
    """An (n, k) array as n fixed-size lists of k numbers of a kind."""
    flat = pa.array(np.ascontiguousarray(matrix, kind).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def list_matrix(table: pa.Table, name: str, kind: type[_T], width: int | None = None) -> NDArray[_T]:
    """Read a column of lists as an array.

    Args:
        table: Has the column.
        name: Of the column.
        kind: Of the numbers. A number that is missing inside a list becomes NaN where the kind has one.
        width: Length of every list; None for the length that they share, of which a table without rows has none.

    Returns:
        (n, width) of that kind.

    Raises:
        ValueError: There is no such column, it holds other things than lists of numbers, a list is missing or of
            another length, or a whole number is missing. The message says which, and is part of a sentence.
    """
    if name not in table.column_names:
        raise ValueError(f"it has no column {name}")
    column = table[name]
    if not _holds_lists_of_numbers(column.type) or column.null_count:
        raise ValueError(f"not every row of its column {name} is a list of numbers")
    if not issubclass(kind, np.floating) and missing_numbers(column):
        raise ValueError(f"a number of its column {name} is missing")
    lengths = {length for chunk in column.chunks for length in chunk.value_lengths().unique().to_pylist()}
    expected = lengths if width is None else {*lengths, width}
    if len(expected) != 1:
        wanted = "of one length" if width is None else f"of {width} numbers"
        raise ValueError(f"the lists of its column {name} are not all {wanted}")
    parts = [np.asarray(chunk.flatten().to_numpy(zero_copy_only=False), kind) for chunk in column.chunks]
    return np.concatenate([np.empty(0, kind), *parts]).reshape(len(column), *expected)


def missing_numbers(column: pa.ChunkedArray) -> int:
    """How many numbers are missing inside the lists of a column."""
    return sum(chunk.flatten().null_count for chunk in column.chunks)


def table_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow file (IPC)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _holds_lists_of_numbers(kind: pa.DataType) -> bool:
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    numbers = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    return any(is_list(kind) for is_list in lists) and any(is_number(kind.value_type) for is_number in numbers)
