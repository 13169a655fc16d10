"""Niches: tiles that look alike, by k-means on the H&E vectors (Haiku, 2605.00925, counterfactual: k = 4, seed 42)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NICHES: Final = 4
SEED: Final = 42
RESTARTS: Final = 10
FITTED: Final = 5000
"""Points that centres are fitted to, evenly chosen; on a large slide the others then join the nearest centre."""

_STEPS: Final = 300

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clusters:
    """What k-means found.

    Attributes:
        labels: (n,) int64, 0 to k - 1, the largest cluster first.
        centres: (k, d) float64.
        inertia: Sum of the squared distances of all points to their centre.
    """

    labels: NDArray[np.int64]
    centres: Floats
    inertia: float


def k_means(points: NDArray[np.floating], k: int = NICHES, *, seed: int = SEED, restarts: int = RESTARTS) -> Clusters:
    """Lloyd's algorithm from k-means++ seeds (D. Arthur and S. Vassilvitskii, 2007), the best of some restarts.

    Beyond `FITTED` points the centres come from that many of them.

    Args:
        points: (n, d), at least one.
        k: Clusters; fewer where there are not so many different points.
        seed: Of the draws; equal arguments give equal clusters.
        restarts: How often it begins anew.
    """
    own = np.asarray(points, np.float64)
    random = np.random.default_rng(seed)
    fitted = own[np.unique(np.linspace(0, len(own) - 1, min(len(own), FITTED)).round().astype(np.int64))]
    runs = [_lloyd(fitted, _seeds(fitted, min(k, len(fitted)), random)) for _ in range(restarts if k > 1 else 1)]
    best = _spread_to(own, min(runs, key=lambda run: run.inertia).centres)
    order = np.argsort(-np.bincount(best.labels, minlength=len(best.centres)), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Clusters(place[best.labels], best.centres[order], best.inertia)


def _seeds(points: Floats, k: int, random: np.random.Generator) -> Floats:
    """Each next seed is drawn with a chance that grows with the squared distance to the nearest one before."""
    chosen = [points[random.integers(len(points))]]
    nearest = ((points - chosen[0]) ** 2).sum(axis=1)
    while len(chosen) < k and nearest.sum() > 0:
        chosen.append(points[random.choice(len(points), p=nearest / nearest.sum())])
        nearest = np.minimum(nearest, ((points - chosen[-1]) ** 2).sum(axis=1))
    return np.stack(chosen)


def _lloyd(points: Floats, centres: Floats) -> Clusters:
    lengths = np.einsum("nd,nd->n", points, points)
    labels, distances = _assign(points, lengths, centres)
    for _ in range(_STEPS):
        centres = _means(points, labels, distances, centres)
        before, (labels, distances) = labels, _assign(points, lengths, centres)
        if np.array_equal(before, labels):
            break
    return Clusters(labels, centres, float(distances.sum()))


def _spread_to(points: Floats, centres: Floats) -> Clusters:
    """All points at their nearest centre."""
    labels, distances = _assign(points, np.einsum("nd,nd->n", points, points), centres)
    return Clusters(labels, centres, float(distances.sum()))


def _assign(points: Floats, lengths: Floats, centres: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The nearest centre of each point, and the squared distance to it."""
    squares = lengths[:, None] - 2 * points @ centres.T + np.einsum("kd,kd->k", centres, centres)
    labels = squares.argmin(axis=1)
    return labels, np.maximum(np.take_along_axis(squares, labels[:, None], axis=1)[:, 0], 0.0)


def _means(points: Floats, labels: NDArray[np.int64], distances: Floats, centres: Floats) -> Floats:
    """Means of the clusters; one that lost every point begins again at the point that fits worst."""
    worst = iter(np.argsort(-distances, kind="stable"))
    groups = [points[labels == number] for number in range(len(centres))]
    return np.stack([own.mean(axis=0) if len(own) else points[next(worst)] for own in groups])
