"""From neighbours to tiles, to the slide's rows, to the tiles that are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haiku_edge.runtime.inference.biomarkers import Expression
from haiku_edge.runtime.inference.calibration import Calibration
from haiku_edge.runtime.inference.evidence import DIFFERENT, TYPICAL, choose_tiles
from haiku_edge.runtime.inference.summarise import LEAST_SUPPORTED_SHARE, summarise
from haiku_edge.runtime.inference.tiles import TileResults
from tests.runtime.inference.small_atlas import small_atlas, unit

TILES, MARKERS = 40, 3


def _calibration(half_width: float = 0.5) -> Calibration:
    half = np.full(MARKERS, half_width, np.float32)
    similarities = np.linspace(0, 1, 11, dtype=np.float32)
    return Calibration(0.9, 30, 300, half, half, 0.2, similarities, np.full(11, 1 / 11))


def _tiles(status: list[str]) -> TileResults:
    rng = np.random.default_rng(1)
    count = len(status)
    said = np.array(status) == "predicted"
    value = np.where(said[:, None], rng.normal(size=(count, MARKERS)), np.nan).astype(np.float32)
    return TileResults(
        origins=np.stack([np.arange(count), np.zeros(count)], axis=1).astype(np.int32),
        status=np.array(status),
        tissue=np.ones(count, np.float32),
        vectors=unit(rng.normal(size=(count, 6))),
        similarity=np.full(count, 0.5, np.float32),
        percentile=np.full(count, 50, np.float32),
        expression=Expression(value, np.abs(value), np.where(said[:, None], 1, np.nan).astype(np.float32) * value**0),
        without_notes=value + 1,
        row_of={tile: tile for tile in range(count)},
    )


def _atlas():
    rng = np.random.default_rng(2)
    return small_atlas(rng.normal(size=(8, 6)), rng.uniform(10, 90, (8, MARKERS)))


def test_the_slide_value_is_the_mean_over_the_predicted_tiles_only() -> None:
    tiles = _tiles(["predicted"] * 30 + ["abstained"] * 6 + ["blur"] * 4)
    rows = summarise(_atlas(), tiles, _calibration(), _calibration(), named=("M1",))
    for m, row in enumerate(rows):
        assert row.value == pytest.approx(np.mean(tiles.expression.value[:30, m], dtype=np.float64), abs=1e-6)
        assert (row.low, row.high) == (pytest.approx(row.value - 0.5), pytest.approx(row.value + 0.5))
        assert row.without_notes.value == pytest.approx(row.value + 1, abs=1e-5)
        assert row.tiles == 30
    assert [row.named_in_notes for row in rows] == [False, True, False]


def test_the_intensity_is_the_value_on_the_atlas_scale() -> None:
    atlas, tiles = _atlas(), _tiles(["predicted"] * TILES)
    row = summarise(atlas, tiles, _calibration(), _calibration(), named=())[0]
    assert row.intensity == pytest.approx(atlas.mean[0] + row.value * atlas.std[0], rel=1e-5)


def test_a_slide_with_little_supported_tissue_abstains_with_a_reason() -> None:
    few = int(TILES * LEAST_SUPPORTED_SHARE) - 1
    rows = summarise(
        _atlas(), _tiles(["predicted"] * few + ["abstained"] * (TILES - few)), _calibration(), _calibration(), ()
    )
    for row in rows:
        assert row.status == "abstained" and row.value is None and row.low is None
        assert row.reason is not None and "atlas" in row.reason


def test_too_few_calibration_patients_leave_the_value_without_an_interval() -> None:
    rows = summarise(_atlas(), _tiles(["predicted"] * TILES), _calibration(np.inf), _calibration(np.inf), ())
    assert all(row.value is not None and row.low is None and row.reason for row in rows)


def test_the_typical_tile_comes_first_and_no_tile_twice() -> None:
    tiles = _tiles(["predicted"] * TILES)
    chosen = choose_tiles(tiles, ("M0", "M1", "M2"))
    centre = tiles.vectors.mean(axis=0)
    assert chosen[0].why == TYPICAL and chosen[0].tile == int(np.argmax(tiles.vectors @ centre))
    assert [tile.why for tile in chosen[1:5]] == [DIFFERENT] * 4
    assert len({tile.tile for tile in chosen}) == len(chosen) >= 5


def test_the_tile_with_the_highest_value_is_shown_for_a_marker() -> None:
    tiles = _tiles(["predicted"] * TILES)
    for tile in choose_tiles(tiles, ("M0", "M1", "M2")):
        if tile.why.startswith("highest"):
            m = int(tile.why.split()[1][1:])
            assert tile.tile == int(np.argmax(tiles.expression.value[:, m]))


def test_only_predicted_tiles_are_shown_where_there_are_any() -> None:
    tiles = _tiles(["abstained"] * 35 + ["predicted"] * 5)
    assert {tile.tile for tile in choose_tiles(tiles, ("M0", "M1", "M2"))} <= set(range(35, 40))
    assert choose_tiles(_tiles(["abstained"] * 5), ("M0", "M1", "M2"))
    assert choose_tiles(_tiles(["blur"] * 5), ("M0", "M1", "M2")) == ()


def test_tiles_full_of_tissue_are_shown_rather_than_edges() -> None:
    tiles = _tiles(["predicted"] * TILES)
    edges = replace(tiles, tissue=np.where(np.arange(TILES) < 25, 0.3, 0.9).astype(np.float32))
    assert min(tile.tile for tile in choose_tiles(edges, ("M0", "M1", "M2"))) >= 25
    nothing_else = replace(tiles, tissue=np.full(TILES, 0.3, np.float32))
    assert choose_tiles(nothing_else, ("M0", "M1", "M2"))
