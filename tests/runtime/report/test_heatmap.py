"""Heatmaps lie where their tiles lie."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from haiku_edge.runtime.report.colour import HATCH, colour_index, colour_map
from haiku_edge.runtime.report.heatmap import (
    OPACITY,
    heatmap_png,
    map_tiles,
    marker_values,
    overlay_png,
    paint,
    palette,
    underlay,
)

from . import sample


def test_each_tile_is_painted_over_its_own_pixels(run: sample.Sample) -> None:
    shape, scale = run.images.overview.shape[:2], sample.SCALE
    painted = palette()[paint(marker_values(run.tiles, "CD8"), map_tiles(run.result, run.tiles, shape, (scale, scale)))]
    for row in run.tiles.to_pylist():
        centre = (int((row["y"] + sample.EXTENT / 2) / scale), int((row["x"] + sample.EXTENT / 2) / scale))
        if row["CD8"] is None:
            assert tuple(painted[centre]) in HATCH
        else:
            assert np.array_equal(painted[centre], colour_map()[colour_index(np.float32(row["CD8"]))])


def test_where_there_is_no_tile_nothing_is_painted(run: sample.Sample) -> None:
    shape = run.images.overview.shape[:2]
    painted = paint(
        marker_values(run.tiles, "CD8"), map_tiles(run.result, run.tiles, shape, (sample.SCALE, sample.SCALE))
    )
    covered = np.zeros(shape, dtype=np.uint8)
    for row in run.tiles.to_pylist():
        left, top = row["x"] / sample.SCALE, row["y"] / sample.SCALE
        side = sample.EXTENT / sample.SCALE
        cv2.rectangle(covered, (int(left), int(top)), (int(left + side) + 1, int(top + side) + 1), 1, -1)
    assert not ((painted != 255) & (covered == 0)).any()


def test_pixels_that_are_not_square_move_the_tiles(run: sample.Sample) -> None:
    wide = run.result.model_copy(
        update={"slide": run.result.slide.model_copy(update={"mpp_x": run.result.slide.mpp_x * 2})}
    )
    tiles = pa.table({"column": pa.array([1], pa.int32()), "row": pa.array([1], pa.int32())})
    painted = paint(np.array([1.0], dtype=np.float32), map_tiles(wide, tiles, (100, 100), (16.0, 16.0)))
    down, across = np.nonzero(painted != 255)
    assert (across.min(), across.max(), down.min(), down.max()) == (16, 31, 32, 63)


def test_the_overlay_is_transparent_off_the_tiles_and_as_large_as_the_overview(run: sample.Sample) -> None:
    shape = run.images.overview.shape[:2]
    painted = paint(
        marker_values(run.tiles, "CD8"), map_tiles(run.result, run.tiles, shape, (sample.SCALE, sample.SCALE))
    )
    overlay = np.asarray(Image.open(io.BytesIO(overlay_png(painted))).convert("RGBA"))
    assert overlay.shape == (*shape, 4)
    assert np.array_equal(overlay[..., 3] == 0, painted == 255)
    assert np.array_equal(overlay[painted != 255][:, :3], palette()[painted[painted != 255]])


def test_a_heatmap_file_says_what_it_is(run: sample.Sample) -> None:
    shape = run.images.overview.shape[:2]
    painted = paint(
        marker_values(run.tiles, "CD8"), map_tiles(run.result, run.tiles, shape, (sample.SCALE, sample.SCALE))
    )
    picture = Image.open(io.BytesIO(heatmap_png(underlay(run.images.overview), painted, "CD8", run.result)))
    assert picture.text["Disclaimer"] == run.result.notice
    assert run.result.bundle.digest in picture.text["Source"]
    assert picture.width >= shape[1] and picture.height > shape[0]


def test_a_heatmap_is_the_grey_slide_with_the_colours_over_it(run: sample.Sample) -> None:
    shape = run.images.overview.shape[:2]
    painted = paint(
        marker_values(run.tiles, "CD8"), map_tiles(run.result, run.tiles, shape, (sample.SCALE, sample.SCALE))
    )
    grey = cv2.cvtColor(run.images.overview, cv2.COLOR_RGB2GRAY)[..., None].astype(float)
    expected = np.where((painted == 255)[..., None], grey, grey * (1 - OPACITY) + palette()[painted] * OPACITY)
    drawn = np.asarray(Image.open(io.BytesIO(heatmap_png(underlay(run.images.overview), painted, "CD8", run.result))))
    left = (drawn.shape[1] - shape[1]) // 2
    assert np.abs(drawn[: shape[0], left : left + shape[1]] - expected).max() <= 1
