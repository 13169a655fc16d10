"""From neighbours to expression: the weighted mean of what the neighbours measured.

Follows Haiku (2605.00925, zero-shot biomarker inference) with one mend: where a neighbour's panel lacks a marker, the
weights are renormalised over those that measured it. The published code lets a sentinel of -1 enter the mean instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from .blocks import row_blocks
from .retrieve import Retrieved


@dataclass(frozen=True, slots=True)
class Expression:
    """Inferred expression of n tiles, in standard deviations of the atlas.

    Attributes:
        value: (n, m) float32 weighted mean over the neighbours that measured the marker; NaN where none did.
        spread: (n, m) float32 weighted standard deviation of the same neighbours; 0 where one did, NaN where none did.
        measured: (n, m) float32 share of the neighbours that measured the marker, 0 to 1.
    """

    value: NDArray[np.float32]
    spread: NDArray[np.float32]
    measured: NDArray[np.float32]


def infer_expression(atlas: Atlas, retrieved: Retrieved) -> Expression:
    """Infer each tile's markers from its neighbours."""
    shape = (len(retrieved.ids), len(atlas.markers))
    out = Expression(*(np.empty(shape, np.float32) for _ in range(3)))
    for rows in row_blocks(len(retrieved.ids), retrieved.ids.shape[1] * len(atlas.markers)):
        _infer_block(atlas.z, retrieved.ids[rows], retrieved.weights[rows], out, rows)
    return out


def _infer_block(
    z: NDArray[np.float32], ids: NDArray[np.int64], weights: NDArray[np.float32], out: Expression, rows: slice
) -> None:
    seen = np.where(ids[:, :, None] >= 0, z[np.maximum(ids, 0)], np.nan).astype(np.float64)
    measured = np.isfinite(seen)
    weight = np.where(measured, weights[:, :, None].astype(np.float64), 0.0)
    total = weight.sum(axis=1)
    values = np.where(measured, seen, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (weight * values).sum(axis=1) / total
        variance = (weight * (values - mean[:, None, :]) ** 2).sum(axis=1) / total
    known = total > 0
    out.value[rows] = np.where(known, mean, np.nan)
    out.spread[rows] = np.where(known, np.sqrt(np.maximum(variance, 0)), np.nan)
    retrieved = np.maximum((ids >= 0).sum(axis=1), 1)
    out.measured[rows] = measured.sum(axis=1) / retrieved[:, None]
