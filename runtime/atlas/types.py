"""What a vector index takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The best patches for each of q queries, best first; of equal scores the lower id comes first.

    Attributes:
        ids: (q, k) int64 rows of the atlas; -1 where fewer than k patches were allowed.
        scores: (q, k) float32 inner products; -inf where the id is -1.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class VectorIndex(Protocol):
    """Finds the rows of the atlas with the largest inner product."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def count(self) -> int:
        """Number of vectors."""
        ...

    def search(self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """Find the k best rows for each query.

        What is found for a query does not depend on the other queries of the call.

        Args:
            queries: (q, dimension) float32, finite.
            k: How many, ≥ 1; may exceed the number of vectors.
            allowed: (count,) bool, the rows that may be found; None allows all.

        Raises:
            UsageError: A shape or dtype is wrong, a value isn't finite, or k is below 1.
        """
        ...
