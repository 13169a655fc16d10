"""The demonstration slide against what was painted on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MarkerAgreement:
    """How well a marker's heatmap matches the painted truth.

    Attributes:
        marker: Its name.
        tiles: Tiles compared: those with a prediction.
        pearson: Between predicted z and the painted mean intensity.
        without_notes: The same for the prediction from the H&E alone.
        ceiling: Between what the visible cells and the facts let one expect, and the painted intensity.
        covered: Share of the tiles whose interval holds the painted value, in z of the atlas.
    """

    marker: str
    tiles: int
    pearson: float
    without_notes: float
    ceiling: float
    covered: float


def compare_with_truth(
    tiles: pa.Table, truth: Path, markers: Sequence[str], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> tuple[MarkerAgreement, ...]:
    """Compare a prediction on the demonstration slide with its truth, tile by tile.

    Args:
        tiles: The content of `tiles.parquet`.
        truth: The truth table that was written with the slide.
        markers: Markers of the atlas.
        mean: (m,) mean intensity over the atlas.
        std: (m,) standard deviation over the atlas.
    """
    painted = pq.read_table(truth)
    ours, theirs = _same_places(tiles, painted)
    tiles, painted = tiles.take(ours), painted.take(theirs)
    return tuple(_compare(tiles, painted, marker, float(mean[m]), float(std[m])) for m, marker in enumerate(markers))


def _same_places(tiles: pa.Table, painted: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of both tables that lie at the same place."""
    places = {place: row for row, place in enumerate(zip(*_columns(painted, "x", "y"), strict=True))}
    pairs = [
        (row, places[place])
        for row, place in enumerate(zip(*_columns(tiles, "x", "y"), strict=True))
        if place in places
    ]
    rows = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _compare(tiles: pa.Table, painted: pa.Table, marker: str, mean: float, std: float) -> MarkerAgreement:
    value, alone, low, high = _columns(tiles, marker, f"{marker}_without_notes", f"{marker}_low", f"{marker}_high")
    measured, expected = _columns(painted, marker, f"{marker}_expected")
    known = np.isfinite(value) & np.isfinite(measured)
    bounded = known & np.isfinite(low)
    z = (measured - mean) / std
    return MarkerAgreement(
        marker=marker,
        tiles=int(known.sum()),
        pearson=_pearson(value[known], measured[known]),
        without_notes=_pearson(alone[known], measured[known]),
        ceiling=_pearson(expected[known], measured[known]),
        covered=float(((low <= z) & (z <= high))[bounded].mean()) if bounded.any() else float("nan"),
    )


def _columns(table: pa.Table, *names: str) -> list[NDArray[np.float64]]:
    return [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names]


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 3 or not a.std() or not b.std():
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
