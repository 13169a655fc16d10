"""Time of an atlas search: exact against graph (HNSW), by size of the atlas.

Run as `python benchmarks/search.py`. One thread each, so that the two compare. The vectors lie in
clusters, as an atlas's do.
"""

from __future__ import annotations

import argparse
import os

# Before numpy: BLAS reads it once, when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.export.atlas.index import EF_CONSTRUCTION, EF_SEARCH, M, recall
from haiku_edge.runtime.atlas import ExactIndex, HnswIndex, VectorIndex, build_hnsw

DIMENSION = 128
QUERIES = 1_000
NEIGHBOURS = 5
CLUSTERS = 50
SIZES = (1_000, 20_000, 100_000)


@dataclass(frozen=True, slots=True)
class Row:
    """One size of atlas. Times in milliseconds for all queries, of the build in seconds."""

    count: int
    exact_ms: float
    exact_masked_ms: float
    build_s: float
    graph_ms: float
    graph_masked_ms: float
    recall: float
    recall_masked: float


def unit_vectors(count: int, seed: int) -> NDArray[np.float32]:
    """(count, 128) float32 unit vectors around common centres."""
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIMENSION))
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, CLUSTERS, count)] + random.normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def measure(count: int) -> Row:
    """Build both indexes over `count` vectors and time them, with and without a mask that leaves one in 20 out."""
    vectors, queries = unit_vectors(count, 1), unit_vectors(QUERIES, 2)
    allowed = np.arange(count) % 20 != 0
    exact = ExactIndex(vectors)
    start = time.perf_counter()
    data = build_hnsw(vectors, m=M, ef_construction=EF_CONSTRUCTION)
    build_s = time.perf_counter() - start
    graph = HnswIndex.from_bytes(data, vectors, m=M, ef_construction=EF_CONSTRUCTION, ef_search=EF_SEARCH)
    return Row(
        count=count,
        exact_ms=best_ms(exact, queries, None),
        exact_masked_ms=best_ms(exact, queries, allowed),
        build_s=build_s,
        graph_ms=best_ms(graph, queries, None),
        graph_masked_ms=best_ms(graph, queries, allowed),
        recall=compare(graph, exact, queries, None),
        recall_masked=compare(graph, exact, queries, allowed),
    )


def best_ms(index: VectorIndex, queries: NDArray[np.float32], allowed: NDArray[np.bool_] | None) -> float:
    """The fastest of three searches of all queries, milliseconds."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        index.search(queries, NEIGHBOURS, allowed=allowed)
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def compare(
    index: VectorIndex, exact: VectorIndex, queries: NDArray[np.float32], allowed: NDArray[np.bool_] | None
) -> float:
    """Recall of `index` against exact search."""
    found = index.search(queries, NEIGHBOURS, allowed=allowed)
    return recall(found.ids, exact.search(queries, NEIGHBOURS, allowed=allowed).ids)


def main() -> None:
    """Print one row a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    print(
        f"{QUERIES} queries, d = {DIMENSION}, k = {NEIGHBOURS}, M = {M}, ef = {EF_SEARCH}, one thread; "
        "masked: 5 % of the vectors left out"
    )
    print("| vectors | exact ms | masked | HNSW build s | HNSW ms | masked | recall@5 | masked |")
    print("|---|---|---|---|---|---|---|---|")
    for count in arguments.sizes:
        row = measure(count)
        print(
            f"| {row.count:,} | {row.exact_ms:.0f} | {row.exact_masked_ms:.0f} | {row.build_s:.1f} "
            f"| {row.graph_ms:.0f} | {row.graph_masked_ms:.0f} | {row.recall:.4f} | {row.recall_masked:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
