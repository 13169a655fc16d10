"""A new marker comes with a vector, or not at all."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.vocabulary import MARKER_VECTOR_WIDTH, PUBLISHED_MARKERS, add_marker, read_marker_vectors
from haiku_edge.runtime.errors import PanelError, UnreadableDatasetError, UsageError

VECTOR = np.random.default_rng(0).normal(size=MARKER_VECTOR_WIDTH)


def test_vector_becomes_the_last_row_and_the_table_stays_as_it_was() -> None:
    table = {"CD8": np.ones(MARKER_VECTOR_WIDTH, np.float32)}
    longer = add_marker(table, "CD49d", VECTOR)
    assert list(table) == ["CD8"]
    assert list(longer) == ["CD8", "CD49d"]
    assert longer["CD49d"].dtype == np.float32
    np.testing.assert_allclose(longer["CD49d"], VECTOR, rtol=1e-6)


@pytest.mark.parametrize("name", ["CD8", "cd-8", "CD8a", "PGP9.5", "", "blank", "CD 9", "CD9_pred", "x" * 41, "a/b"])
def test_name_that_is_known_or_malformed_is_refused(name: str) -> None:
    with pytest.raises(PanelError):
        add_marker(dict.fromkeys(PUBLISHED_MARKERS, VECTOR.astype(np.float32)), name, VECTOR)


@pytest.mark.parametrize(
    "vector",
    [
        VECTOR[:-1],
        VECTOR[None],
        np.zeros(MARKER_VECTOR_WIDTH),
        np.where(np.arange(MARKER_VECTOR_WIDTH) == 3, np.nan, VECTOR),
        np.full(MARKER_VECTOR_WIDTH, 1e300),
        np.ones(MARKER_VECTOR_WIDTH, np.int64),
        np.array(["a"] * MARKER_VECTOR_WIDTH),
    ],
)
def test_vector_without_meaning_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(PanelError, match="CD49d"):
        add_marker({}, "CD49d", vector)


def test_vectors_are_read_from_files_of_one_and_of_several(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", VECTOR.astype(np.float16))
    np.savez(tmp_path / "more.npz", CD99=VECTOR, HER2=-VECTOR)
    read = read_marker_vectors([f"CD49d={tmp_path / 'one.npy'}", str(tmp_path / "more.npz")])
    assert list(read) == ["CD49d", "CD99", "HER2"]
    np.testing.assert_allclose(read["HER2"], -VECTOR, rtol=1e-6)
    np.testing.assert_allclose(read["CD49d"], VECTOR, rtol=1e-3)


def test_one_name_given_twice_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", VECTOR)
    with pytest.raises(PanelError, match="known already"):
        read_marker_vectors([f"HER2={tmp_path / 'one.npy'}", f"HER-2={tmp_path / 'one.npy'}"])


def test_pickled_vector_is_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "one.npy").write_bytes(pickle.dumps(VECTOR))
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    for file in ("one.npy", "object.npy", "absent.npy"):
        with pytest.raises(UnreadableDatasetError, match=file):
            read_marker_vectors([f"HER2={tmp_path / file}"])


@pytest.mark.parametrize("argument", ["HER2", "HER2=vector.txt", "vector.npy", "HER2=vector.npz"])
def test_argument_of_another_form_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="NAME=FILE"):
        read_marker_vectors([argument])


def test_an_archive_that_is_cut_short_or_spoilt_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "more.npz", CD99=VECTOR, HER2=-VECTOR)
    whole = (tmp_path / "more.npz").read_bytes()
    middle = len(whole) // 3
    for data in (whole[:-30], whole[:middle], b"", b"PK\x03\x04", whole[:middle] + bytes(64) + whole[middle + 64 :]):
        (tmp_path / "more.npz").write_bytes(data)
        with pytest.raises(UnreadableDatasetError, match=r"more\.npz"):
            read_marker_vectors([str(tmp_path / "more.npz")])
    np.save(tmp_path / "one.npy", VECTOR)
    (tmp_path / "one.npy").write_bytes((tmp_path / "one.npy").read_bytes()[:-7])
    with pytest.raises(UnreadableDatasetError, match=r"one\.npy"):
        read_marker_vectors([f"CD49d={tmp_path / 'one.npy'}"])


@pytest.mark.parametrize("values", [1 << 20, 1 << 24])
def test_a_small_archive_of_a_huge_array_is_refused_before_it_is_unpacked(tmp_path: Path, values: int) -> None:
    np.savez_compressed(tmp_path / "more.npz", CD99=np.zeros(values))
    assert (tmp_path / "more.npz").stat().st_size < 1 << 18
    tracemalloc.start()
    try:
        with pytest.raises((PanelError, UnreadableDatasetError)):
            read_marker_vectors([str(tmp_path / "more.npz")])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
