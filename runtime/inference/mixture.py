"""What a mixture of experts says of a tile: its embedding, and which experts spoke (SPADE, 2506.21857)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MixtureOutput:
    """The output of SPADE's tower for n tiles.

    Attributes:
        vectors: (n, d) float32, the embedding at length 1: what is searched with. 0 where the embedding is 0.
        embedding: (n, d) float32, the routed sum of the experts' image heads, as later models take it.
        experts: (n, e) float32 weight of each expert; a row sums to 1.
    """

    vectors: NDArray[np.float32]
    embedding: NDArray[np.float32]
    experts: NDArray[np.float32]


def split_mixture(output: NDArray[np.float32], dimension: int) -> MixtureOutput:
    """Take apart what the graph gives side by side.

    Args:
        output: (n, d + e) float32.
        dimension: d.
    """
    embedding = np.ascontiguousarray(output[:, :dimension])
    length = np.linalg.norm(embedding.astype(np.float64), axis=1, keepdims=True)
    vectors = np.divide(embedding, length, out=np.zeros(embedding.shape), where=length > 0)
    return MixtureOutput(vectors.astype(np.float32), embedding, np.ascontiguousarray(output[:, dimension:]))
