"""The three ways in which the published counterfactuals rank evidence by tissue and notes together.

Haiku, 2605.00925, counterfactual notebooks. With the cosines a_j of the tile and b_j of the notes to patch j, and w the
weight of the notes:

    sum      (1 - w) a_j + w b_j                                          the published default, w = 0.4
    softmax  (1 - w) softmax_j(a / τ) + w softmax_j(b / τ), τ = 0.07
    rrf      (1 - w) / (60 + rank_j(a)) + w / (60 + rank_j(b))            reciprocal ranks, w = 0.3, ranks from 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ..atlas import VectorIndex
from ..inference import fuse
from ..inference.blocks import row_blocks

Fusion = Literal["sum", "softmax", "rrf"]
FUSIONS: Final[tuple[Fusion, ...]] = get_args(Fusion)

TEXT_WEIGHT: Final[dict[str, float]] = {"sum": 0.4, "softmax": 0.4, "rrf": 0.3}
"""Published weight of the notes by fusion; for softmax none is stated, and the default's stands."""

NEIGHBOURS: Final = 50
TEMPERATURE: Final = 0.07
RANK_CONSTANT: Final = 60

_DECIMALS: Final = 6
"""Cosines are compared to this many decimals, so that a matrix product's rounding never decides a rank."""


class Searchable(Protocol):
    """Vectors with the search among them: an atlas, or a cohort's own patches."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(n, d) unit vectors."""
        ...

    @property
    def index(self) -> VectorIndex:
        """Finds the nearest."""
        ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """The evidence of n tiles, best first; of equal scores the lower row of the atlas comes first.

    Attributes:
        ids: (n, k) int64 rows of the atlas; -1 where fewer than k patches were allowed.
        scores: (n, k) float32 fused scores; -inf where the id is -1.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Search:
    """How evidence is ranked.

    Attributes:
        fusion: sum, softmax or rrf.
        text_weight: Weight of the notes, 0 to 1.
        neighbours: k.
        allowed: (patches,) which patches may be evidence; None allows all.
    """

    fusion: Fusion = "sum"
    text_weight: float = TEXT_WEIGHT["sum"]
    neighbours: int = NEIGHBOURS
    allowed: NDArray[np.bool_] | None = None


def rank_evidence(
    atlas: Searchable, he: NDArray[np.float32], text: NDArray[np.float32] | None, search: Search
) -> Ranked:
    """Rank the atlas for n tiles and one text.

    Args:
        atlas: The evidence.
        he: (n, d) unit vectors of the tiles.
        text: (d,) unit vector of the notes; None ranks by the tissue alone.
        search: How.
    """
    if search.fusion == "sum" or text is None:
        query = fuse(he, text, search.text_weight)
        found = atlas.index.search(query, search.neighbours, allowed=search.allowed)
        return Ranked(found.ids, found.scores)
    rows = np.arange(len(atlas.vectors)) if search.allowed is None else np.flatnonzero(search.allowed)
    gallery = atlas.vectors[rows].astype(np.float64)
    notes = _FUSED[search.fusion](_rounded(text[None].astype(np.float64) @ gallery.T))
    width = min(search.neighbours, len(rows))
    ids = np.full((len(he), search.neighbours), -1, np.int64)
    scores = np.full(ids.shape, -np.inf, np.float32)
    for part in row_blocks(len(he), len(rows)):
        tissue = _FUSED[search.fusion](_rounded(he[part].astype(np.float64) @ gallery.T))
        fused = (1 - search.text_weight) * tissue + search.text_weight * notes
        order = np.argsort(-fused, axis=1, kind="stable")[:, :width]
        ids[part, :width] = rows[order]
        scores[part, :width] = np.take_along_axis(fused, order, axis=1)
    return Ranked(ids, scores)


def _rounded(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(cosines, _DECIMALS)


def _softmax(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / TEMPERATURE)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _reciprocal_ranks(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(-cosines, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, cosines.shape[1] + 1)[None].repeat(len(cosines), axis=0), axis=1)
    return np.asarray(1.0 / (RANK_CONSTANT + ranks))


_FUSED = {"softmax": _softmax, "rrf": _reciprocal_ranks}
