"""The GeoJSON is what QuPath's importer reads, and stays small in memory."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import tracemalloc
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from haiku_edge.runtime.report.geojson import features, write_geojson

from . import sample


@pytest.fixture(scope="module")
def collection(outputs: Path) -> dict:
    return json.loads(gzip.decompress((outputs / "tiles.geojson.gz").read_bytes()))


def test_it_keeps_the_rules_of_the_importer(run: sample.Sample, collection: dict) -> None:
    assert collection["type"] == "FeatureCollection" and collection["notice"] == run.result.notice
    assert len(collection["features"]) == len(run.tiles)
    for feature in collection["features"]:
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        properties = feature["properties"]
        assert properties["objectType"] == "tile" and properties["isLocked"] is True
        assert all(type(value) is float for value in properties["measurements"].values())
        if "classification" in properties:
            colour = properties["classification"]["color"]
            assert (
                properties["classification"]["name"] and len(colour) == 3 and all(0 <= part <= 255 for part in colour)
            )


def test_polygons_are_the_tiles_in_level_0_pixels(run: sample.Sample, collection: dict) -> None:
    for row, feature in zip(run.tiles.to_pylist(), collection["features"], strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1] == [row["x"], row["y"]] and len(ring) == 5
        sides = [corner - origin for corner, origin in zip(ring[2], ring[0], strict=True)]
        assert all(abs(side - sample.EXTENT) <= 0.5 for side in sides)


def test_neighbours_share_an_edge_where_the_extent_is_a_half(run: sample.Sample) -> None:
    # 256 px of 0.5 µm over pixels of 0.4096 µm: 312.5 px, so that every other corner lies on a half.
    part = run.result.tiles.model_copy(update={"size": 256, "mpp": 0.5, "extent": 312.5})
    slide = run.result.slide.model_copy(update={"mpp_x": 0.4096, "mpp_y": 0.4096})
    places = np.arange(8, dtype=np.int32)
    origins = np.array([0, 313, 625, 938, 1250, 1563, 1875, 2188], dtype=np.int32)
    tiles = run.tiles.slice(0, 8)
    for name, values in (("column", places), ("row", places), ("x", origins), ("y", origins)):
        tiles = tiles.set_column(tiles.column_names.index(name), name, pa.array(values))
    found = list(features(run.result.model_copy(update={"tiles": part, "slide": slide}), tiles))
    corners = [feature["geometry"]["coordinates"][0] for feature in found]
    for before, after in itertools.pairwise(corners):
        assert before[2] == after[0]


def test_measurements_are_the_table_and_nulls_are_left_out(run: sample.Sample, collection: dict) -> None:
    for row, feature in zip(run.tiles.to_pylist(), collection["features"], strict=True):
        names = (*sample.MARKERS, "similarity", "percentile", *(name for name in row if name.startswith("head_")))
        expected = {name: row[name] for name in names if row[name] is not None}
        assert feature["properties"]["measurements"] == pytest.approx(expected, abs=1e-4)
        assert ("classification" in feature["properties"]) == (row["status"] != "predicted")


def test_identifiers_are_unique_and_belong_to_the_slide(run: sample.Sample, collection: dict) -> None:
    identifiers = [feature["id"] for feature in collection["features"]]
    assert len(set(identifiers)) == len(identifiers)
    other = run.result.model_copy(update={"slide": run.result.slide.model_copy(update={"sha256": "0" * 64})})
    assert not set(identifiers) & {feature["id"] for feature in features(other, run.tiles)}


def test_memory_does_not_grow_with_the_slide(run: sample.Sample) -> None:
    peaks = []
    for times in (1, 3):
        tiles = pa.concat_tables([run.tiles.take(np.arange(2100) % len(run.tiles))] * times).combine_chunks()
        with Path(os.devnull).open("wb") as sink:
            tracemalloc.start()
            write_geojson(sink, run.result, tiles)
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
