"""How prevalent a marker is among a tile's evidence, and how much of it each patch speaks for.

Haiku, 2605.00925, counterfactual, cohort version: ν = Σ s·L / Σ s·V over the nearest 50 patches, with the fused score s
that ranked a patch, V whether it measured the marker and L whether it is positive. Scores enter as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..inference.blocks import row_blocks
from .fusion import Ranked

Floats = NDArray[np.float64]


def prevalence(positive: NDArray[np.float32], ranked: Ranked) -> Floats:
    """ν of every tile and marker.

    Args:
        positive: (patches, m) float32, 1 or 0, NaN where not measured; with other values their weighted mean comes out.
        ranked: Each tile's evidence.

    Returns:
        (n, m) float64; NaN where no evidence measured the marker, or where the scores that did sum to nothing.
    """
    values = np.full((len(ranked.ids), positive.shape[1]), np.nan)
    for rows in row_blocks(len(ranked.ids), ranked.ids.shape[1] * positive.shape[1]):
        shares, found = evidence_shares(positive, Ranked(ranked.ids[rows], ranked.scores[rows]))
        known = np.isfinite(shares).all(axis=1)
        values[rows] = np.where(known, (shares * found).sum(axis=1), np.nan)
    return values


def evidence_shares(positive: NDArray[np.float32], ranked: Ranked) -> tuple[Floats, Floats]:
    """What each neighbour contributes.

    Returns:
        (n, k, m) share of the evidence for the marker, summing to 1 over the neighbours that measured it and 0 for the
        others (NaN where none did), and (n, k, m) 1 where it is positive, else 0.
    """
    there = ranked.ids >= 0
    own = positive[np.maximum(ranked.ids, 0)].astype(np.float64)
    measured = np.isfinite(own) & there[:, :, None]
    weight = np.where(measured, np.where(there, ranked.scores, 0.0).astype(np.float64)[:, :, None], 0.0)
    total = weight.sum(axis=1, keepdims=True)
    shares = np.divide(weight, total, out=np.full_like(weight, np.nan), where=total > 0)
    return shares, np.where(measured, own, 0.0)
