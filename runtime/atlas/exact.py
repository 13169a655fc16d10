"""Exact search: the choice for small atlases, and the oracle that a graph is measured against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._ranking import check_call, nothing_found, rank
from .types import Neighbours

_BLOCK_SCORES = 4 << 20
_SPARE = 16


class ExactIndex:
    """Every inner product, in blocks of queries."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Search among `vectors`, (n, d) float32, which is kept, not copied."""
        self._vectors = vectors
        self._longest = float(np.sqrt(np.max(np.einsum("nd,nd->n", vectors, vectors), initial=0)))

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._vectors.shape[1])

    @property
    def count(self) -> int:
        """Number of vectors."""
        return len(self._vectors)

    def search(self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """Find the k best rows for each query; see `VectorIndex.search`."""
        check_call(queries, k, allowed, dimension=self.dimension, count=self.count)
        if allowed is None:
            return self._search(queries, k, self._vectors)
        rows = np.flatnonzero(allowed)
        found = self._search(queries, k, self._vectors[rows])
        if not len(rows):
            return found
        return Neighbours(np.where(found.ids < 0, -1, rows[found.ids]), found.scores)

    def _search(self, queries: NDArray[np.float32], k: int, vectors: NDArray[np.float32]) -> Neighbours:
        found = nothing_found(len(queries), k)
        block = max(1, _BLOCK_SCORES // max(1, len(vectors)))
        for first in range(0, len(queries) if len(vectors) else 0, block):
            part = slice(first, first + block)
            candidates = self._candidates(queries[part], k, vectors)
            best = rank(queries[part], candidates, vectors, k)
            found.ids[part], found.scores[part] = best.ids, best.scores
        return found

    def _candidates(self, queries: NDArray[np.float32], k: int, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """All rows that could be among the k best, however the matrix product rounds; more where scores tie."""
        count = len(vectors)
        scores = queries @ vectors.T
        width = min(count, k + _SPARE)
        top = _largest(scores, width)
        if width < count:
            at_k = -np.partition(-np.take_along_axis(scores, top, axis=1), k - 1, axis=1)[:, k - 1]
            # Each of two float32 sums of d products errs by at most d 2^-24 |q||v|; each end of the comparison by both.
            lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries))
            slack = self.dimension * np.float32(2.0**-22) * lengths * np.float32(self._longest)
            needed = int(np.max(np.count_nonzero(scores >= (at_k - slack)[:, None], axis=1)))
            if needed > width:
                top = _largest(scores, needed)
        return top


def _largest(scores: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    """(q, width) columns of the largest scores of each row, in no order."""
    count = scores.shape[1]
    if width >= count:
        return np.broadcast_to(np.arange(count), scores.shape)
    return np.argpartition(scores, count - width, axis=1)[:, count - width :]
