"""Tiles as GeoJSON that QuPath's importer takes.

QuPath's rules (qupath-core, QuPathTypeAdapters): a FeatureCollection; each feature with a UUID as `id`, its
`properties` with `objectType`, `classification` {name, color}, `measurements` as an object of numbers, and
`isLocked`; pixels at full resolution, origin at the top left.
"""

from __future__ import annotations

import gzip
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from ..slide.grid import round_half_up
from .experts import EXPERT_COLUMN
from .genes import PREFIX as GENE_PREFIX
from .genes import measured_genes
from .heads import PREFIX
from .heatmap import tile_extent
from .schema import Result

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:haiku-edge:tile")
_ROWS_AT_ONCE = 2048
"""Rows of the table that are Python objects at one time; what keeps memory flat."""

_DECIMALS = 4
"""Decimals of a measurement: far below any interval's width, and half the file's size."""

_HEAD_DECIMALS = 8
"""Decimals of a head's column: attention is shared among tens of thousands of tiles."""

_COMPRESSION = 6
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

_CLASSES: Mapping[str, tuple[str, tuple[int, int, int]]] = {
    "abstained": ("Abstained", (150, 154, 160)),
    "blur": ("Blurred", (190, 170, 120)),
    "unreadable": ("Unreadable", (90, 90, 90)),
}
"""Classification and colour of a tile without a prediction."""


def write_geojson(stream: BinaryIO, result: Result, tiles: pa.Table) -> None:
    """Write all tiles as gzip-compressed GeoJSON, a feature at a time.

    The bytes depend on nothing but the arguments: no time stamp stands in the gzip header, and a tile's UUID is that of
    the slide's digest and the tile's row.

    Args:
        stream: Where to write.
        result: Gives the slide's digest, the tile's size and the markers.
        tiles: The tiles table.
    """
    header = {
        "type": "FeatureCollection",
        "notice": result.notice,
        "bundle": {key: getattr(result.bundle, key) for key in ("name", "version", "digest", "synthetic")},
    }
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_COMPRESSION, fileobj=stream, mtime=0) as packed:
        packed.write(_ENCODER.encode(header)[:-1].encode() + b',"features":[')
        for index, feature in enumerate(features(result, tiles)):
            packed.write((",\n" if index else "\n").encode() + _ENCODER.encode(feature).encode())
        packed.write(b"\n]}\n")


def features(result: Result, tiles: pa.Table) -> Iterator[dict[str, Any]]:
    """The tiles as GeoJSON features, in the table's order."""
    markers = [biomarker.marker for biomarker in result.biomarkers if biomarker.marker in tiles.column_names]
    heads = [name for name in tiles.column_names if name.startswith(PREFIX)]
    names = [*markers, "similarity", "percentile", *heads, *_of_genes(result, tiles)]
    places = ["x", "y", "status"]
    extent_x, extent_y = tile_extent(result)
    index = 0
    for batch in tiles.select([*places, "column", "row", *names]).to_batches(max_chunksize=_ROWS_AT_ONCE):
        sides = (_sides(batch["column"], extent_x), _sides(batch["row"], extent_y))
        where = zip(*(batch[place].to_pylist() for place in places), *sides, strict=True)
        measured = zip(*(_rounded(batch[name], _decimals(name)) for name in names), strict=True)
        for (x, y, status, width, height), values in zip(where, measured, strict=True):
            yield {
                "type": "Feature",
                "id": str(uuid.uuid5(_NAMESPACE, f"{result.slide.sha256}:{index}")),
                "geometry": _rectangle(x, y, width, height),
                "properties": _properties(status, dict(zip(names, values, strict=True))),
            }
            index += 1


def _of_genes(result: Result, tiles: pa.Table) -> list[str]:
    """The columns of a mixture of experts."""
    genes = [f"{GENE_PREFIX}{gene}" for gene in measured_genes(result, tiles)]
    wanted = [EXPERT_COLUMN, "spade_similarity", *genes] if result.spatial is not None else []
    return [name for name in wanted if name in tiles.column_names]


def _properties(status: str, measurements: dict[str, float]) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "tile", "isLocked": True}
    if status in _CLASSES:
        name, colour = _CLASSES[status]
        properties["classification"] = {"name": name, "color": list(colour)}
    properties["measurements"] = {name: value for name, value in measurements.items() if math.isfinite(value)}
    return properties


def _decimals(name: str) -> int:
    return _HEAD_DECIMALS if name.startswith(PREFIX) else _DECIMALS


def _rounded(column: pa.Array, decimals: int) -> list[float]:
    """A column as floats, NaN for null."""
    values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    rounded: list[float] = np.round(values, decimals).tolist()
    return rounded


def _sides(positions: pa.Array, extent: float) -> list[int]:
    """Pixels from each tile's origin to the next, rounded as the grid rounds, so that neighbours share an edge."""
    begin = positions.to_numpy().astype(np.float64)
    sides: list[int] = (round_half_up((begin + 1) * extent) - round_half_up(begin * extent)).tolist()
    return sides


def _rectangle(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    """A polygon whose outer ring is closed."""
    right, bottom = x + width, y + height
    return {"type": "Polygon", "coordinates": [[[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]]}
