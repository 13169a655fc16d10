"""A small atlas whose content a test states in full."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas, ExactIndex, Pictures, standardise
from haiku_edge.runtime.atlas.patches import PictureTable


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows divided by their lengths."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def small_atlas(
    vectors: NDArray[np.floating], expression: NDArray[np.floating], patients: list[str] | None = None
) -> Atlas:
    """An atlas with these patches, searched exactly, without pictures."""
    count, markers = expression.shape
    names = tuple(f"M{m}" for m in range(markers))
    own = patients or [f"p{i}" for i in range(count)]
    expression = expression.astype(np.float32)
    mean, std, z = standardise(expression)
    units = unit(np.asarray(vectors))
    first = np.zeros(count, np.int64)
    no_channel = np.zeros((count, markers), np.int64)
    table = PictureTable(first, first + 1, no_channel, no_channel, {}, {}, 1, 1)
    return Atlas(
        vectors=units,
        markers=names,
        expression=expression,
        mean=mean,
        std=std,
        z=z,
        positive=np.where(np.isnan(z), np.nan, z > 0).astype(np.float32),
        patches=np.array([f"patch{i}" for i in range(count)]),
        patients=np.array(own),
        sections=np.array([f"{p}-S1" for p in own]),
        organs=np.array(["Colon"] * count),
        panels=np.array(["A"] * count),
        x=np.full(count, np.nan, np.float32),
        y=np.full(count, np.nan, np.float32),
        index=ExactIndex(units),
        pictures=Pictures(b"\0", table, names),
    )
