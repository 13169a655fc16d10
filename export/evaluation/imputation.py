"""Expression from neighbours, as published and mended.

Follows Haiku (2605.00925, zero-shot biomarker inference): the weights are the softmax of the neighbours' similarities.
In the published code a marker that a neighbour did not measure enters the mean as −1, as if it were a z-score; the
honest form divides by the weight of those that measured it, as `haiku_edge.runtime.inference` does.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Neighbours
from haiku_edge.runtime.inference.blocks import row_blocks

Form = Literal["published", "honest"]
FORMS: Final[tuple[Form, ...]] = ("published", "honest")

SENTINEL: Final = -1.0
"""What the published code stores for a marker that was not measured."""

TEXT_WEIGHT: Final = 0.2
NEIGHBOURS: Final = 5
TEMPERATURE: Final = 1.0
"""The published setting."""


def softmax_weights(scores: NDArray[np.float32], temperature: float = TEMPERATURE) -> NDArray[np.float64]:
    """(n, k) weights of each patch's neighbours, best first; 0 where there is none (−inf)."""
    exponent = (scores.astype(np.float64) - np.where(np.isfinite(scores[:, :1]), scores[:, :1], 0)) / temperature
    weights = np.exp(exponent)
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def impute(
    z: NDArray[np.float32], found: Neighbours, form: Form, temperature: float = TEMPERATURE
) -> NDArray[np.float32]:
    """Infer n patches from their neighbours.

    Args:
        z: (N, m) expression of the gallery in standard deviations, NaN where not measured.
        found: (n, k) neighbours.
        form: 'published' lets −1 stand for what was not measured; 'honest' leaves it out.
        temperature: Of the softmax.

    Returns:
        (n, m) float32; NaN where no neighbour was allowed, and in the honest form where none measured the marker.
    """
    weights = softmax_weights(found.scores, temperature)
    out = np.empty((len(weights), z.shape[1]), np.float32)
    for rows in row_blocks(len(weights), weights.shape[1] * z.shape[1]):
        values = z[np.maximum(found.ids[rows], 0)].astype(np.float64)
        out[rows] = weighted_mean(values, weights[rows], form)
    return out


def weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64], form: Form) -> NDArray[np.float64]:
    """(n, m) means of (n, k, m) values, NaN where not measured, by (n, k) weights."""
    measured = np.isfinite(values)
    if form == "published":
        mean = np.einsum("nk,nkm->nm", weights, np.where(measured, values, SENTINEL))
        return np.asarray(np.where(weights.sum(axis=1, keepdims=True) > 0, mean, np.nan))
    total = np.einsum("nk,nkm->nm", weights, measured.astype(np.float64))
    mean = np.einsum("nk,nkm->nm", weights, np.where(measured, values, 0.0))
    return np.asarray(np.divide(mean, total, out=np.full(mean.shape, np.nan), where=total > 0))
