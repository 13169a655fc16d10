"""What every index does alike: check the call, and score candidates so that the result depends on nothing else.

A matrix product rounds differently with the number of queries in it, and a graph library differently with the processor
that it was built for. So either only proposes candidates; their scores are then summed in one fixed order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .types import Neighbours

MAX_COMPONENT = 1e6
"""Largest component of a query: queries are mixtures of unit vectors; far beyond this a float32 product overflows."""

_GATHER_BYTES = 64 << 20


def check_call(
    queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None, *, dimension: int, count: int
) -> None:
    """Refuse what would read out of bounds or give arbitrary ids.

    Raises:
        UsageError: See `VectorIndex.search`.
    """
    if not isinstance(queries, np.ndarray) or queries.ndim != 2 or queries.shape[1] != dimension:
        raise UsageError(
            f"Queries have the shape {np.shape(queries)}, the atlas takes (n, {dimension}). Search with vectors "
            "from the towers of the same bundle."
        )
    if queries.dtype != np.float32:
        raise UsageError(f"Queries are {queries.dtype}, the atlas takes float32. Convert them.")
    if queries.size and not bool(np.max(np.abs(queries)) <= MAX_COMPONENT):
        raise UsageError("A query holds a value that is not finite or far too large. Check the tower's output.")
    if k < 1:
        raise UsageError(f"{k} neighbours were asked for; ask for at least one.")
    if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (count,)):
        raise UsageError(
            f"The mask of allowed patches is {allowed.dtype} {allowed.shape}; it has to be bool ({count},)."
        )


def nothing_found(queries: int, k: int) -> Neighbours:
    """The answer where no patch is allowed."""
    return Neighbours(np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32))


def rank(
    queries: NDArray[np.float32], candidates: NDArray[np.int64], vectors: NDArray[np.float32], k: int
) -> Neighbours:
    """Score candidates exactly and keep the k best of each query.

    Args:
        queries: (q, d) float32.
        candidates: (q, c) rows of `vectors`, each at most once a query, -1 for none.
        vectors: (n, d) float32.
        k: How many to keep.
    """
    found = nothing_found(len(queries), k)
    width = max(1, candidates.shape[1])
    rows = max(1, _GATHER_BYTES // (width * vectors.shape[1] * vectors.itemsize))
    for first in range(0, len(queries), rows):
        part = slice(first, first + rows)
        _rank_into(queries[part], candidates[part], vectors, found.ids[part], found.scores[part])
    return found


def _rank_into(
    queries: NDArray[np.float32],
    candidates: NDArray[np.int64],
    vectors: NDArray[np.float32],
    ids: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    none = candidates < 0
    # einsum without `optimize` sums each pair of rows on its own, in the same order whatever the batch.
    products = np.einsum("qd,qcd->qc", queries, vectors[np.where(none, 0, candidates)])
    products[none] = -np.inf
    order = np.lexsort((np.where(none, len(vectors), candidates), -products), axis=-1)[:, : ids.shape[1]]
    width = order.shape[1]
    ids[:, :width] = np.take_along_axis(candidates, order, axis=1)
    scores[:, :width] = np.take_along_axis(products, order, axis=1)
