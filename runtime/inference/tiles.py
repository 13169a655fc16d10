"""What each tile of the slide says, as arrays and as the table that is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..arrow import list_column
from ..atlas import Atlas
from ..slide import TilePlan, is_blurred
from .biomarkers import Expression, infer_expression
from .calibration import Calibration
from .embed import EmbeddedTiles
from .retrieve import Retrieved


@dataclass(frozen=True, slots=True)
class TileResults:
    """Everything about the n tiles of the plan, in its order.

    Attributes:
        origins: (n, 2) int32 level-0 x, y.
        status: (n,) str: predicted, abstained, blur or unreadable.
        tissue: (n,) float32 share of each tile that is tissue.
        vectors: (n, d) float32.
        similarity: (n,) float32 best H&E similarity to the atlas; NaN for tiles that were not searched.
        percentile: (n,) float32, 0 to 100, of that similarity among held-out tiles.
        expression: (n, m) arrays with notes; NaN where the tile is not predicted.
        without_notes: (n, m) float32 values from the H&E alone; NaN likewise.
        row_of: Tile index → row of the retrieval that found its neighbours.
    """

    origins: NDArray[np.int32]
    status: NDArray[np.str_]
    tissue: NDArray[np.float32]
    vectors: NDArray[np.float32]
    similarity: NDArray[np.float32]
    percentile: NDArray[np.float32]
    expression: Expression
    without_notes: NDArray[np.float32]
    row_of: dict[int, int]


def readable_tiles(embedded: EmbeddedTiles) -> NDArray[np.int64]:
    """Indices of the tiles that are sharp and were read, in order."""
    usable = ~is_blurred(embedded.sharpness)
    usable[list(embedded.unreadable)] = False
    return np.flatnonzero(usable)


def judge_tiles(
    plan: TilePlan,
    embedded: EmbeddedTiles,
    searched: NDArray[np.int64],
    found: Retrieved,
    alone: Retrieved,
    atlas: Atlas,
    calibration: Calibration,
) -> TileResults:
    """Turn neighbours into values, and abstain where the nearest evidence is too far.

    Args:
        searched: (s,) tile indices that `found` and `alone` are about.
        found: Their neighbours with notes.
        alone: Their neighbours from the H&E alone; `found` itself where there are no notes.
    """
    count = len(plan.grid.origins)
    best = alone.he_similarity[:, 0]
    supported = best >= calibration.similarity_threshold
    status = np.where(is_blurred(embedded.sharpness), "blur", "unreadable").astype("<U10")
    status[list(embedded.unreadable)] = "unreadable"
    status[searched] = np.where(supported, "predicted", "abstained")
    keep = searched[supported]
    told = infer_expression(atlas, found)
    without_notes = told if alone is found else infer_expression(atlas, alone)
    return TileResults(
        origins=plan.grid.origins,
        status=status,
        tissue=plan.grid.tissue,
        vectors=embedded.vectors,
        similarity=_scatter(count, searched, best),
        percentile=_scatter(count, searched, calibration.percentile(best)),
        expression=_spread_out(count, keep, told, supported),
        without_notes=_scatter(count, keep, without_notes.value[supported]),
        row_of={int(tile): row for row, tile in enumerate(searched)},
    )


def tile_table(
    plan: TilePlan, embedded: EmbeddedTiles, tiles: TileResults, more: Sequence[Mapping[str, pa.Array]]
) -> pa.Table:
    """The rows of `tiles.parquet`: where each tile lies and what became of it, and then what the models say.

    Args:
        plan: The tiles.
        embedded: How they were read.
        tiles: What the first family made of them.
        more: Columns of the families, one after another.
    """
    grid = plan.grid
    columns: dict[str, pa.Array] = {
        "column": pa.array(grid.columns, pa.int32()),
        "row": pa.array(grid.rows, pa.int32()),
        "x": pa.array(grid.origins[:, 0], pa.int32()),
        "y": pa.array(grid.origins[:, 1], pa.int32()),
        "extent": pa.array(np.full(len(grid.origins), grid.extent, np.float32)),
        "tissue": pa.array(grid.tissue, pa.float32()),
        "sharpness": pa.array(embedded.sharpness, pa.float32()),
        "status": pa.array(tiles.status.tolist(), pa.string()),
        "similarity": nullable(tiles.similarity),
        "percentile": nullable(tiles.percentile),
    }
    for own in more:
        columns |= own
    return pa.table(columns)


def marker_columns(
    tiles: TileResults,
    calibration: Calibration,
    markers: tuple[str, ...],
    searched: NDArray[np.int64],
    heads: Mapping[str, NDArray[np.float32]],
) -> dict[str, pa.Array]:
    """The columns on markers, trained heads and Haiku's vectors; values are null where nothing is said.

    Args:
        tiles: The tiles.
        calibration: Intervals.
        markers: Names of the m markers.
        searched: (s,) tile indices that the heads read.
        heads: Column name → (s,) values of the trained heads.
    """
    columns = value_columns(tiles, calibration, markers, with_notes=True)
    for name, values in heads.items():
        columns[name] = nullable(_scatter(len(tiles.origins), searched, values))
    columns["vector"] = list_column(tiles.vectors)
    return columns


def value_columns(
    tiles: TileResults, calibration: Calibration, names: Sequence[str], *, with_notes: bool = False
) -> dict[str, pa.Array]:
    """A column of values under each of m names, with the ends of its interval and the evidence's spread.

    Args:
        tiles: The tiles.
        calibration: Intervals.
        names: Names of the m columns of values.
        with_notes: Tell the values without notes too.
    """
    columns: dict[str, pa.Array] = {}
    for m, name in enumerate(names):
        value, half = tiles.expression.value[:, m], calibration.tile_half_width[m]
        bounded = np.where(np.isfinite(half), value, np.nan)
        columns |= {
            name: nullable(value),
            f"{name}_low": nullable(bounded - half),
            f"{name}_high": nullable(bounded + half),
            f"{name}_spread": nullable(tiles.expression.spread[:, m]),
        }
        if with_notes:
            columns[f"{name}_without_notes"] = nullable(tiles.without_notes[:, m])
    return columns


def _spread_out(count: int, keep: NDArray[np.int64], values: Expression, supported: NDArray[np.bool_]) -> Expression:
    return Expression(
        *(_scatter(count, keep, part[supported]) for part in (values.value, values.spread, values.measured))
    )


def _scatter(count: int, rows: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`values` at `rows` of an otherwise NaN array."""
    out = np.full((count, *values.shape[1:]), np.nan, np.float32)
    out[rows] = values
    return out


def nullable(values: NDArray[np.float32]) -> pa.Array:
    """Numbers as a column; null where they are not finite."""
    values = np.asarray(values, np.float32)
    return pa.array(values, pa.float32(), mask=~np.isfinite(values))
