"""Does a vector of one modality find its own partner in another? Recall at k, with chance beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

CUTS = (1, 5, 10, 50)
"""Lengths of the result list at which recall is told."""

CLOSE = 1e-6
"""Cosines nearer than this are a tie: the texts of one patient are equal, and rounding must not rank them."""


@dataclass(frozen=True, slots=True)
class RetrievalScore:
    """Retrieval in one direction.

    Attributes:
        query: Modality that asks: he, mif or text.
        gallery: Modality that is searched.
        size: Entries of the gallery.
        recall: Share of the queries whose own partner is among the first k, by k.
        chance: The same for a random order: k / size.
    """

    query: str
    gallery: str
    size: int
    recall: dict[int, float]
    chance: dict[int, float]


def score_retrieval(vectors: Mapping[str, NDArray[np.float32]]) -> tuple[RetrievalScore, ...]:
    """Score every ordered pair of modalities.

    Args:
        vectors: (n, d) unit vectors by modality; row i of all belongs to the same patch.

    Returns:
        One score a direction, in the order of the names.
    """
    return tuple(_score(query, gallery, vectors) for query, gallery in permutations(vectors, 2))


def recall_at(query: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> float:
    """Expected share of queries whose partner (the same row) is among the k most similar.

    Entries as similar as the partner are ordered by chance, so that equal texts of a patient's patches neither help nor
    harm: with b better ones and t that tie, the partner counted, it is among the first k with probability
    clip((k − b) / t, 0, 1).
    """
    cosines = query @ gallery.T
    own = np.diagonal(cosines)[:, None]
    better = (cosines > own + CLOSE).sum(axis=1)
    ties = (np.abs(cosines - own) <= CLOSE).sum(axis=1)
    return float(np.clip((k - better) / ties, 0, 1).mean())


def _score(query: str, gallery: str, vectors: Mapping[str, NDArray[np.float32]]) -> RetrievalScore:
    size = len(vectors[gallery])
    recall = {k: recall_at(vectors[query], vectors[gallery], k) for k in CUTS}
    return RetrievalScore(query, gallery, size, recall, {k: min(1.0, k / size) for k in CUTS})
