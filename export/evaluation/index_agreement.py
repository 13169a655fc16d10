"""Does the graph find what exact search finds? Both as `predict` uses them, on a cohort's own vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import ExactIndex, HnswIndex, Neighbours, VectorIndex, build_hnsw, probe_hnswlib

from .ranking import CLOSE, CUTS

M = 16
EF_CONSTRUCTION = 200
EF_SEARCH = 200
"""Links and breadths of the graph, as the atlas has them."""

_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class IndexAgreement:
    """One direction, searched by a graph and exactly.

    Attributes:
        query: Modality that asks.
        gallery: Modality that is searched.
        found: Length of the list → share of its places where the graph's entry is as similar as exact search's.
        exact: Length of the list → share of the queries whose own partner exact search lists; ties by row.
        graph: The same for the graph.
    """

    query: str
    gallery: str
    found: Mapping[int, float]
    exact: Mapping[int, float]
    graph: Mapping[int, float]


def compare_indexes(vectors: Mapping[str, NDArray[np.float32]]) -> tuple[IndexAgreement, ...]:
    """Search every modality with every other in both ways; nothing where hnswlib does not work on this machine.

    Args:
        vectors: (n, d) unit vectors by modality; row i of all belongs to the same patch.
    """
    if probe_hnswlib() is not None:
        return ()
    graphs = {name: _graph(matrix) for name, matrix in vectors.items()}
    return tuple(
        _compare(query, gallery, vectors, graphs[gallery])
        for query, gallery in permutations(vectors, 2)
        if {query, gallery} != {"text", "caption"}
    )


def _graph(vectors: NDArray[np.float32]) -> HnswIndex:
    data = build_hnsw(vectors, m=M, ef_construction=EF_CONSTRUCTION)
    return HnswIndex.from_bytes(data, vectors, m=M, ef_construction=EF_CONSTRUCTION, ef_search=EF_SEARCH)


def _compare(query: str, gallery: str, vectors: Mapping[str, NDArray[np.float32]], graph: HnswIndex) -> IndexAgreement:
    truth, ours = (_search(index, vectors[query]) for index in (ExactIndex(vectors[gallery]), graph))
    same = ours.scores >= truth.scores - CLOSE
    own = np.arange(len(vectors[query]))[:, None]
    cuts = [k for k in CUTS if k <= len(own)]
    return IndexAgreement(
        query,
        gallery,
        found={k: float(same[:, :k].mean()) for k in cuts},
        exact={k: float((truth.ids[:, :k] == own).any(axis=1).mean()) for k in cuts},
        graph={k: float((ours.ids[:, :k] == own).any(axis=1).mean()) for k in cuts},
    )


def _search(index: VectorIndex, queries: NDArray[np.float32]) -> Neighbours:
    k = min(CUTS[-1], index.count)
    parts = [index.search(queries[start : start + _AT_ONCE], k) for start in range(0, len(queries), _AT_ONCE)]
    return Neighbours(np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts]))
