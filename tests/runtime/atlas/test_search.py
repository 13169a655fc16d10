"""What a search finds, for exact search and for the graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import ExactIndex, HnswIndex, Neighbours, VectorIndex, build_hnsw, probe_hnswlib
from haiku_edge.runtime.errors import UsageError

GRAPH = {"m": 8, "ef_construction": 100}
needs_hnswlib = pytest.mark.skipif(probe_hnswlib() is not None, reason="hnswlib does not work on this processor")


def unit(seed: int, count: int, dimension: int = 32) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def graph(vectors: NDArray[np.float32], threads: int = 1) -> HnswIndex:
    data = build_hnsw(vectors, **GRAPH)
    return HnswIndex.from_bytes(data, vectors, **GRAPH, ef_search=100, threads=threads)


def plain_search(
    vectors: NDArray[np.float32], query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
) -> list[int]:
    """The definition, one pair at a time in float64."""
    scores = [(-float(np.dot(query.astype(float), row.astype(float))), i) for i, row in enumerate(vectors)]
    return [i for _, i in sorted(scores) if allowed[i]][:k]


BUILDERS = [ExactIndex, pytest.param(graph, marks=needs_hnswlib)]


@pytest.fixture(params=BUILDERS, scope="module")
def index(request: pytest.FixtureRequest) -> VectorIndex:
    build: Callable[[NDArray[np.float32]], VectorIndex] = request.param
    return build(unit(0, 600))


def test_the_nearest_patch_of_a_patch_is_itself(index: VectorIndex) -> None:
    found = index.search(unit(0, 600), 1)
    assert (found.ids[:, 0] == np.arange(600)).all()
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-5)


def test_neighbours_are_those_of_the_definition_best_first(index: VectorIndex) -> None:
    queries = unit(1, 40)
    found = index.search(queries, 7)
    everything = np.ones(600, bool)
    expected = [plain_search(unit(0, 600), query, 7, everything) for query in queries]
    assert np.mean(found.ids == np.array(expected)) > 0.99
    assert (np.diff(found.scores, axis=1) <= 0).all()


@given(
    seed=st.integers(0, 1000),
    patients=st.integers(1, 30),
    left_out=st.integers(0, 29),
    k=st.integers(1, 50),
    queries=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_a_left_out_patient_never_comes_back(
    index: VectorIndex, seed: int, patients: int, left_out: int, k: int, queries: int
) -> None:
    owner = np.random.default_rng(seed).integers(0, patients, 600)
    allowed = owner != left_out
    found = index.search(unit(seed, queries), k, allowed=allowed)
    known = found.ids >= 0
    assert allowed[found.ids[known]].all()
    assert (known.sum(axis=1) == min(k, allowed.sum())).all(), "every allowed patch that there is room for is found"
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in found.ids), "no patch twice"


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.99])
def test_a_mask_gives_what_searching_the_rest_alone_gives(index: VectorIndex, share: float) -> None:
    allowed = np.random.default_rng(5).random(600) < share
    allowed[17] = True
    queries = unit(2, 30)
    found = index.search(queries, 5, allowed=allowed)
    rows = np.flatnonzero(allowed)
    alone = ExactIndex(unit(0, 600)[rows]).search(queries, 5)
    expected = np.where(alone.ids < 0, -1, rows[alone.ids])
    assert np.mean(found.ids == expected) > 0.99


def test_a_query_finds_the_same_bits_alone_and_in_any_batch(index: VectorIndex) -> None:
    queries = unit(3, 67)
    together = index.search(queries, 5)
    for size in (1, 2, 13, 64):
        parts = [index.search(queries[i : i + size], 5) for i in range(0, 67, size)]
        assert np.array_equal(np.concatenate([part.ids for part in parts]), together.ids)
        assert np.array_equal(np.concatenate([part.scores for part in parts]), together.scores)


def test_more_neighbours_than_patches_are_padded(index: VectorIndex) -> None:
    found = index.search(unit(4, 2), 700)
    assert found.ids.shape == found.scores.shape == (2, 700)
    assert all(set(row[:600]) == set(range(600)) for row in found.ids)
    assert (found.ids[:, 600:] == -1).all() and np.isneginf(found.scores[:, 600:]).all()


def test_where_nothing_is_allowed_nothing_is_found(index: VectorIndex) -> None:
    found = index.search(unit(4, 3), 5, allowed=np.zeros(600, bool))
    assert (found.ids == -1).all() and np.isneginf(found.scores).all()


def test_no_queries_find_no_neighbours(index: VectorIndex) -> None:
    assert index.search(np.zeros((0, 32), np.float32), 5).ids.shape == (0, 5)


@pytest.mark.parametrize(
    "queries",
    [
        np.zeros((2, 31), np.float32),
        np.zeros((2, 33), np.float32),
        np.zeros(32, np.float32),
        np.zeros((2, 32), np.float64),
        np.zeros((2, 32), np.int64),
        np.full((2, 32), np.nan, np.float32),
        np.full((2, 32), np.inf, np.float32),
        np.full((2, 32), 1e30, np.float32),
    ],
)
def test_queries_that_would_read_out_of_bounds_or_mean_nothing_are_refused(
    index: VectorIndex, queries: NDArray[np.float32]
) -> None:
    with pytest.raises(UsageError):
        index.search(queries, 5)


@pytest.mark.parametrize(
    "allowed", [np.ones(599, bool), np.ones(601, bool), np.ones(600, np.uint8), np.ones((600, 1), bool)]
)
def test_a_mask_of_another_shape_or_type_is_refused(index: VectorIndex, allowed: NDArray[np.bool_]) -> None:
    with pytest.raises(UsageError):
        index.search(unit(0, 1), 5, allowed=allowed)


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_neighbour_is_refused(index: VectorIndex, k: int) -> None:
    with pytest.raises(UsageError):
        index.search(unit(0, 1), k)


@given(copies=st.integers(2, 60), k=st.integers(1, 40), seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_of_equal_scores_the_lower_row_comes_first(copies: int, k: int, seed: int) -> None:
    distinct = unit(seed, 5)
    vectors = np.tile(distinct, (copies, 1))
    found = ExactIndex(vectors).search(unit(seed + 100, 3), k)
    order = np.argsort(-(unit(seed + 100, 3) @ distinct.T), axis=1)
    for row, ranks in zip(found.ids, order, strict=True):
        expected = [int(kind) + 5 * copy for kind in ranks for copy in range(copies)][:k]
        assert row[row >= 0].tolist() == expected


def test_a_fused_query_ranks_by_the_weighted_sum_of_both_similarities() -> None:
    vectors, he, text = unit(0, 300), unit(1, 1), unit(2, 1)
    found = ExactIndex(vectors).search(np.float32(0.8) * he + np.float32(0.2) * text, 5)
    both = 0.8 * (vectors @ he[0]) + 0.2 * (vectors @ text[0])
    np.testing.assert_allclose(found.scores[0], np.sort(both)[::-1][:5], atol=1e-6)


@needs_hnswlib
def test_the_graph_finds_what_exact_search_finds() -> None:
    vectors = unit(7, 5000, 64)
    data = build_hnsw(vectors, m=16, ef_construction=200)
    loaded = HnswIndex.from_bytes(data, vectors, m=16, ef_construction=200, ef_search=200)
    queries = unit(8, 300, 64)
    found, exact = loaded.search(queries, 5), ExactIndex(vectors).search(queries, 5)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.ids, exact.ids, strict=True)]) >= 0.99
    same = found.ids == exact.ids
    assert np.array_equal(found.scores[same], exact.scores[same]), "the same pair has the same score in either index"


@needs_hnswlib
def test_threads_do_not_change_what_the_graph_finds() -> None:
    vectors, queries = unit(7, 2000), unit(8, 200)
    one, two = graph(vectors).search(queries, 5), graph(vectors, threads=2).search(queries, 5)
    assert np.array_equal(one.ids, two.ids) and np.array_equal(one.scores, two.scores)


@needs_hnswlib
def test_a_graph_is_built_the_same_each_time() -> None:
    assert build_hnsw(unit(7, 1500), **GRAPH) == build_hnsw(unit(7, 1500), **GRAPH)


@needs_hnswlib
@pytest.mark.parametrize("count", [1, 2, 17])
def test_a_tiny_graph_works(count: int) -> None:
    found: Neighbours = graph(unit(9, count)).search(unit(9, count), 5)
    assert (found.ids[:, 0] == np.arange(count)).all()


@needs_hnswlib
def test_many_equal_vectors_do_not_leave_a_query_without_neighbours() -> None:
    vectors = np.repeat(unit(9, 4), 200, axis=0)
    found = graph(vectors).search(unit(10, 20), 30)
    assert (found.ids >= 0).all()
