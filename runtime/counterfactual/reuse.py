"""Vectors of a finished prediction: the tissue is the same, so it is not embedded again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..inference import Model
from ..inference.embed import EmbeddedTiles
from ..slide import TilePlan
from ..version import product

TILES_NAME: Final = "tiles.parquet"
RESULT_NAME: Final = "result.json"
_COLUMNS: Final = ("x", "y", "extent", "sharpness", "status", "vector")
_UNIT: Final = 1e-3
"""How far from 1 the length of a vector may be; a damaged one is further."""


def read_finished(folder: Path, plan: TilePlan, model: Model, digest: str) -> EmbeddedTiles | None:
    """The tiles that `predict` embedded, or None where there are none that this run would make too.

    They count only if slide, bundle, product, tower, provider, processor, tiles and the scale that they were read at
    are the same: what decides the bytes of an embedded tile (`embedding_recipe`). In a bundle of both families the
    other tower may have asked for a finer scale. A table that can't be read or makes no sense is None too, never an
    error.

    Args:
        folder: Where a prediction of the slide would lie.
        plan: The tiles that are wanted.
        model: The open bundle and its engine.
        digest: Of the slide.
    """
    try:
        table = pq.read_table(folder / TILES_NAME, columns=list(_COLUMNS))
        if not _same_maker(folder, table, model, digest):
            return None
        return _tiles(table, plan, model.bundle.manifest.embedding_dimension)
    except (OSError, pa.ArrowException, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _same_maker(folder: Path, table: pa.Table, model: Model, digest: str) -> bool:
    """Whether the same product made it of the same slide, with the same bundle on the same processor."""
    manifest, device = model.bundle.manifest, model.engine.device
    said, result = table.schema.metadata or {}, json.loads((folder / RESULT_NAME).read_bytes())
    ran = result["device"]
    ran_with = ran["tower"], ran["provider"], ran["precision"], ran["name"]
    made = result["product"], *ran_with, result["slide"]["sha256"], result["tiles"]["mpp"]
    return (
        said.get(b"slide_sha256") == digest.encode()
        and said.get(b"bundle") == f"{manifest.name} {manifest.version} {model.bundle.digest}".encode()
        and made == (product(), model.tower.name, device.provider, device.precision, device.name, digest, model.mpp)
    )


def _tiles(table: pa.Table, plan: TilePlan, dimension: int) -> EmbeddedTiles | None:
    """The table as tiles; None where they are others, or a value is missing or can't be."""
    if any(table[name].null_count for name in _COLUMNS):
        return None
    origins = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    same_size = np.array_equal(table["extent"].to_numpy(), np.full(len(table), plan.grid.extent, np.float32))
    if not (np.array_equal(origins, plan.grid.origins) and same_size):
        return None
    vectors = np.asarray(table["vector"].combine_chunks().flatten(), np.float32).reshape(len(table), dimension)
    lost = np.array(table["status"].to_pylist(), np.str_) == "unreadable"
    sharpness = np.asarray(table["sharpness"].to_numpy(), np.float32)
    if not (np.isfinite(sharpness[~lost]).all() and _are_units(vectors[~lost])):
        return None
    return EmbeddedTiles(
        vectors=vectors,
        sharpness=sharpness,
        unreadable={int(tile): "unreadable in the prediction" for tile in np.flatnonzero(lost)},
        resumed=len(table),
        engine_seconds=0.0,
        stream_seconds=0.0,
    )


def _are_units(vectors: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(vectors, axis=1)
    return bool((np.abs(lengths - 1) < _UNIT).all())
