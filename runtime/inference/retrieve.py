"""Fused retrieval: which mIF patches look like a tile, in a patient like this one.

With unit vectors `(1-w) cos(h, c) + w cos(t, c) = ((1-w) h + w t) · c`, so both modalities need one inner-product
search (Haiku, 2605.00925, zero-shot biomarker inference, w = 0.2, five neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from ..errors import UsageError
from .blocks import row_blocks


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The neighbours of n tiles, best first.

    Attributes:
        ids: (n, k) int64 rows of the atlas; -1 where fewer than k patches were allowed.
        scores: (n, k) float32 fused similarity that ranked them; -inf where the id is -1.
        weights: (n, k) float32 softmax of the scores over each tile's neighbours; 0 where the id is -1.
        he_similarity: (n, k) float32 cosine between the tile and the patch alone.
        text_similarity: (n, k) float32 cosine between the notes and the patch, or None without notes.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    weights: NDArray[np.float32]
    he_similarity: NDArray[np.float32]
    text_similarity: NDArray[np.float32] | None


def fuse(he: NDArray[np.float32], text: NDArray[np.float32] | None, text_weight: float) -> NDArray[np.float32]:
    """The query that ranks by both modalities at once.

    Args:
        he: (n, d) unit vectors of the tiles.
        text: (d,) or (n, d) unit vectors of the notes, or None.
        text_weight: Weight of the notes, 0 to 1.

    Returns:
        (n, d) float32; not normalised, so that its inner products are the fused similarities themselves.
    """
    if text is None:
        return he
    return ((1 - text_weight) * he + text_weight * text).astype(np.float32)


def retrieve(
    atlas: Atlas,
    he: NDArray[np.float32],
    text: NDArray[np.float32] | None,
    *,
    text_weight: float,
    neighbours: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Retrieved:
    """Find each tile's nearest patches.

    Args:
        atlas: The evidence.
        he: (n, d) unit vectors of the tiles.
        text: (d,) or (n, d) unit vectors of the notes, or None.
        text_weight: Weight of the notes.
        neighbours: k.
        allowed: (patches,) which patches may be evidence; None allows all.
    """
    found = atlas.index.search(fuse(he, text, text_weight), neighbours, allowed=allowed)
    return Retrieved(
        ids=found.ids,
        scores=found.scores,
        weights=_softmax(found.scores),
        he_similarity=_cosines(atlas, he, found.ids),
        text_similarity=None if text is None else _cosines(atlas, np.broadcast_to(text, he.shape), found.ids),
    )


def patients_allowed(atlas: Atlas, excluded: tuple[str, ...]) -> NDArray[np.bool_] | None:
    """(patches,) mask without the excluded patients' patches or spots, or None where nobody is excluded.

    Args:
        atlas: The evidence.
        excluded: Pseudonyms of patients who may not be evidence; `check_excluded` sees that they are in the bundle.

    Raises:
        UsageError: Nobody is left.
    """
    if not excluded:
        return None
    allowed: NDArray[np.bool_] = ~np.isin(atlas.patients, np.asarray(excluded))
    if not allowed.any():
        which = "atlas of spots" if atlas.measure == "gene" else "atlas"
        raise UsageError(f"--exclude-patient leaves no patient in the {which}, so there is no evidence to search.")
    return allowed


def _cosines(atlas: Atlas, queries: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, k) cosines between each query and its own patches; NaN where the id is -1."""
    cosines = np.full(ids.shape, np.nan, np.float32)
    for rows in row_blocks(len(ids), ids.shape[1] * queries.shape[1]):
        own = np.einsum("nd,nkd->nk", queries[rows], atlas.vectors[np.maximum(ids[rows], 0)])
        cosines[rows] = np.where(ids[rows] >= 0, own, np.nan)
    return cosines


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    best = np.max(scores, axis=1, keepdims=True, initial=-np.inf)
    shifted = np.where(np.isfinite(scores), scores - np.where(np.isfinite(best), best, 0), -np.inf)
    weights = np.exp(shifted.astype(np.float64))
    total = weights.sum(axis=1, keepdims=True)
    shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return np.asarray(shares, dtype=np.float32)
