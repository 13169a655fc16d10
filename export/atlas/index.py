"""Make the atlas's index: exact where that is fast enough, else a graph that is measured against exact search."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import EXACT_BELOW, ExactIndex, HnswIndex, VectorIndex, build_hnsw, probe_hnswlib
from haiku_edge.runtime.bundle import IndexSection
from haiku_edge.runtime.errors import BundleContentError, DeviceUnavailableError

IndexKind = Literal["auto", "exact", "hnsw"]

M = 16
EF_CONSTRUCTION = 200
EF_SEARCH = 200
"""hnswlib's parameters: recall@10 of 0.997 at 100,000 vectors of 512 dimensions."""

LEAST_RECALL = 0.99
_RECALL_AT = 5
_RECALL_QUERIES = 500
_RECALL_NOISE = 0.5


def build_index(
    vectors: NDArray[np.float32], file: str, *, kind: IndexKind = "auto"
) -> tuple[bytes | None, IndexSection]:
    """Choose and build the index.

    Args:
        vectors: (n, d) float32 unit vectors.
        file: Path in the bundle that a graph gets.
        kind: 'auto' searches exactly below `EXACT_BELOW` vectors.

    Returns:
        The graph's bytes (None for exact search) and the manifest's section.

    Raises:
        DeviceUnavailableError: A graph is wanted and hnswlib does not work on this machine.
        BundleContentError: The graph, loaded again, finds less than 99 % of what exact search finds.
        DiskFullError: There was no room to save it.
    """
    count, dimension = vectors.shape
    if kind == "exact" or (kind == "auto" and count < EXACT_BELOW):
        return None, IndexSection(kind="exact", file=None, dimension=dimension, count=count)
    trouble = probe_hnswlib()
    if trouble is not None:
        raise DeviceUnavailableError(f"The atlas's graph can't be built: {trouble}")
    data = build_hnsw(vectors, m=M, ef_construction=EF_CONSTRUCTION)
    loaded = HnswIndex.from_bytes(data, vectors, m=M, ef_construction=EF_CONSTRUCTION, ef_search=EF_SEARCH)
    _check_recall(loaded, vectors)
    return data, IndexSection(
        kind="hnsw",
        file=file,
        dimension=dimension,
        count=count,
        m=M,
        ef_construction=EF_CONSTRUCTION,
        ef_search=EF_SEARCH,
        library=f"hnswlib {version('hnswlib')}",
    )


def recall(found: NDArray[np.int64], expected: NDArray[np.int64]) -> float:
    """Share of the expected ids, (q, k), that were found, (q, k)."""
    hits = sum(len(np.intersect1d(one, other)) for one, other in zip(found, expected, strict=True))
    return hits / expected.size


def measure_recall(index: VectorIndex, vectors: NDArray[np.float32], k: int = _RECALL_AT) -> float:
    """Recall@k against exact search, for queries half way between atlas vectors and noise."""
    random = np.random.default_rng(0)
    rows = random.choice(len(vectors), min(_RECALL_QUERIES, len(vectors)), replace=False)
    noise = random.normal(size=(len(rows), vectors.shape[1])) / np.sqrt(vectors.shape[1])
    queries = (vectors[rows] + _RECALL_NOISE * noise).astype(np.float32)
    return recall(index.search(queries, k).ids, ExactIndex(vectors).search(queries, k).ids)


def _check_recall(index: VectorIndex, vectors: NDArray[np.float32]) -> None:
    reached = measure_recall(index, vectors)
    if reached < LEAST_RECALL:
        raise BundleContentError(
            f"The atlas's graph finds {reached:.1%} of the nearest patches, less than {LEAST_RECALL:.0%}. Build the "
            "atlas with exact search, or with more links."
        )
