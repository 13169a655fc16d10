"""Arrays of two axes as columns of lists, and what is refused when they are read."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest

from haiku_edge.runtime.arrow import list_column, list_matrix, missing_numbers, table_bytes

MATRIX = np.array([[1.5, np.nan, 3.0], [4.0, 5.0, 6.0]], np.float32)


def column(values: list[object], kind: pa.DataType | None = None) -> pa.Table:
    return pa.table({"v": pa.array(values, kind)})


def test_a_column_holds_the_rows_of_its_array() -> None:
    stored = list_column(MATRIX[:, [0, 2]])
    assert stored.type == pa.list_(pa.float32(), 2)
    assert stored.to_pylist() == [[1.5, 3.0], [4.0, 6.0]]
    turned = list_column(np.arange(6).reshape(3, 2).T, np.int64)
    assert turned.type == pa.list_(pa.int64(), 3)
    assert turned.to_pylist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("rows", [slice(0, 2), slice(1, 2), slice(0, 0)])
def test_what_is_written_comes_back_from_a_file(rows: slice) -> None:
    table = pa.table({"v": list_column(MATRIX)}).slice(rows.start, rows.stop - rows.start)
    read = pa.ipc.open_file(io.BytesIO(table_bytes(table))).read_all()
    found = list_matrix(read, "v", np.float32, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, MATRIX[rows])


def test_chunks_are_read_as_one() -> None:
    table = pa.concat_tables([pa.table({"v": list_column(MATRIX)})] * 2)
    assert table["v"].num_chunks == 2
    np.testing.assert_array_equal(list_matrix(table, "v", np.float32), np.concatenate([MATRIX, MATRIX]))


def test_what_others_write_as_lists_of_any_length_is_read_too() -> None:
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32())):
        found = list_matrix(column([[0.5, None], [1.0, 2.0]], kind), "v", np.float32)
        np.testing.assert_array_equal(found, np.array([[0.5, np.nan], [1.0, 2.0]], np.float32))
    np.testing.assert_array_equal(list_matrix(column([[True, None]]), "v", np.float32), [[1.0, np.nan]])
    np.testing.assert_array_equal(list_matrix(column([[None, None]]), "v", np.float32), [[np.nan, np.nan]])


@pytest.mark.parametrize(
    ("table", "kind", "width", "says"),
    [
        (pa.table({"w": list_column(MATRIX)}), np.float32, None, "no column v"),
        (column([1.0, 2.0]), np.float32, None, "list of numbers"),
        (column([["1", "2"]]), np.float32, None, "list of numbers"),
        (column([[1.0], None]), np.float32, 1, "list of numbers"),
        (column([[1.0], None], pa.list_(pa.float32(), 1)), np.float32, 1, "list of numbers"),
        (column([[1, None]]), np.int64, None, "missing"),
        (column([[1.0], [2.0, 3.0], [4.0, 5.0, 6.0]]), np.float32, None, "of one length"),
        (column([[1.0], [2.0, 3.0, 4.0]]), np.float32, 2, "of 2 numbers"),
        (column([[1.0, 2.0]]), np.float32, 1, "of 1 numbers"),
        (column([], pa.list_(pa.float32(), 3)), np.float32, None, "of one length"),
    ],
)
def test_a_column_that_is_no_array_is_refused(
    table: pa.Table, kind: type[np.generic], width: int | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        list_matrix(table, "v", kind, width)


def test_missing_numbers_are_counted_over_all_chunks() -> None:
    table = pa.concat_tables([column([[1.0, None], [None, None]]), column([[2.0, 3.0]])])
    assert missing_numbers(table["v"]) == 3
