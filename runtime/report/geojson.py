"""Tiles as GeoJSON that QuPath's importer takes.

QuPath's rules (qupath-core, QuPathTypeAdapters): a FeatureCollection; each feature with a UUID as `id`, its `properties` with `objectType`,
`classification` {name, color}, `measurements` as an object of numbers, and `isLocked`; pixels at full resolution, origin at the top left.
"""

from __future__ import annotations

import gzip
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa

from .heatmap import tile_extent
from .schema import Result

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:haiku-edge:tile")
_ROWS_AT_ONCE = 2048
"""Rows of the table that are Python objects at one time; what keeps memory flat."""

_DECIMALS = 4
"""Decimals of a measurement: far below any interval's width, and half the file's size."""

_COMPRESSION = 6

_CLASSES: Mapping[str, tuple[str, tuple[int, int, int]]] = {
    "abstained": ("Abstained", (150, 154, 160)),
    "blur": ("Blurred", (190, 170, 120)),
    "unreadable": ("Unreadable", (90, 90, 90)),
}
"""Classification and colour of a tile without a prediction."""


def write_geojson(stream: BinaryIO, result: Result, tiles: pa.Table) -> None:
    """Write all tiles as gzip-compressed GeoJSON, a feature at a time.

    The bytes depend on nothing but the arguments: no time stamp stands in the gzip header, and a tile's UUID is that of the
    slide's digest and the tile's row.

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
        packed.write(_json(header)[:-1].encode() + b',"features":[')
        for index, feature in enumerate(features(result, tiles)):
            packed.write((",\n" if index else "\n").encode() + _json(feature).encode())
        packed.write(b"\n]}\n")


def features(result: Result, tiles: pa.Table) -> Iterator[dict[str, Any]]:
    """The tiles as GeoJSON features, in the table's order."""
    markers = [biomarker.marker for biomarker in result.biomarkers if biomarker.marker in tiles.column_names]
    measured = [*markers, "similarity", "percentile"]
    extent = tile_extent(result)
    wanted = tiles.select(["column", "row", "x", "y", "status", *measured])
    index = 0
    for batch in wanted.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            yield _feature(row, index, result.slide.sha256, measured, extent)
            index += 1


def _feature(row: dict[str, Any], index: int, slide: str, names: list[str], extent: tuple[float, float]) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "tile", "isLocked": True}
    if row["status"] in _CLASSES:
        name, colour = _CLASSES[row["status"]]
        properties["classification"] = {"name": name, "color": list(colour)}
    properties["measurements"] = {
        name: round(row[name], _DECIMALS) for name in names if row[name] is not None and math.isfinite(row[name])
    }
    ring = _ring(row["x"], row["y"], _side(row["column"], extent[0]), _side(row["row"], extent[1]))
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{slide}:{index}")),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }


def _side(position: int, extent: float) -> int:
    """Pixels from the origin of a tile to that of the next, so that neighbours share an edge."""
    return round((position + 1) * extent) - round(position * extent)


def _ring(x: int, y: int, width: int, height: int) -> list[list[int]]:
    """A closed rectangle, counter-clockwise on a map, as RFC 7946 asks of outer rings."""
    right, bottom = x + width, y + height
    return [[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
