"""The GeoJSON is what QuPath's importer reads, and stays small in memory."""

from __future__ import annotations

import gzip
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
        right, bottom = round((row["column"] + 1) * sample.EXTENT), round((row["row"] + 1) * sample.EXTENT)
        assert ring[2] == [right, bottom]


def test_measurements_are_the_table_and_nulls_are_left_out(run: sample.Sample, collection: dict) -> None:
    for row, feature in zip(run.tiles.to_pylist(), collection["features"], strict=True):
        expected = {name: row[name] for name in (*sample.MARKERS, "similarity", "percentile") if row[name] is not None}
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
