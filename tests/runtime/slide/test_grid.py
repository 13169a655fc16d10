"""The grid lies on the slide without drift, and each filter counts what it took."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from haiku_edge.runtime.errors import NoTissueError, ResolutionTooCoarseError
from haiku_edge.runtime.slide import round_half_up
from haiku_edge.runtime.slide.grid import TilePlan, choose_level, plan_tiles, source_origins, source_size
from haiku_edge.runtime.slide.overview import Overview
from haiku_edge.runtime.slide.tissue import Masks

from .painted import PaintedSlide


def _slide(width: int, height: int, mpp: tuple[float, float] = (0.5, 0.5), downsamples: tuple[int, ...] = (1,)):
    return PaintedSlide(
        [np.zeros((height // factor, width // factor, 3), np.uint8) for factor in downsamples], mpp=mpp
    ).info


def _masks(overview: Overview, **painted: np.ndarray) -> Masks:
    nothing = np.zeros(overview.image.shape[:2], bool)
    return Masks(**{"tissue": ~nothing, "pen": nothing, "folds": nothing, **painted})


def _overview(width: int, height: int, scale: int = 16) -> Overview:
    return Overview(np.zeros((-(-height // scale), -(-width // scale), 3), np.uint8), float(scale), 0)


def _plan(info, size: int, mpp: float, **painted: np.ndarray) -> TilePlan:
    overview = _overview(info.levels[0].width, info.levels[0].height)
    return plan_tiles(info, overview, _masks(overview, **painted), size=size, mpp=mpp)


@pytest.mark.parametrize("mpp", [0.25, 0.2527, 0.499, 0.5])
def test_origins_do_not_drift_from_exact_arithmetic(mpp: float) -> None:
    grid = _plan(_slide(9000, 8000, (mpp, mpp)), 256, 0.5).grid
    extent = 256 * Fraction("0.5") / Fraction(str(mpp))
    for column, row, (x, y) in zip(grid.columns.tolist(), grid.rows.tolist(), grid.origins.tolist(), strict=True):
        assert abs(x - column * extent) <= Fraction(1, 2)
        assert abs(y - row * extent) <= Fraction(1, 2)


def test_halves_of_pixels_round_up_for_the_grid_and_for_all_who_draw_it() -> None:
    grid = _plan(_slide(1600, 1300), 101, 0.75).grid
    assert grid.extent == 151.5
    expected = [floor(column * Fraction("151.5") + Fraction(1, 2)) for column in grid.columns.tolist()]
    assert grid.origins[:, 0].tolist() == expected
    assert round_half_up(grid.columns * grid.extent).tolist() == expected
    assert round_half_up([-1.5, -0.5, 0.5, 1.5, 2.5]).tolist() == [-1, 0, 1, 2, 3]
    assert int(round_half_up(2.5)) == 3


def test_tiles_stand_row_by_row_and_wholly_on_the_slide() -> None:
    info = _slide(1100, 900)
    grid = _plan(info, 256, 0.5).grid
    assert list(zip(grid.rows.tolist(), grid.columns.tolist(), strict=True)) == [
        (r, c) for r in range(3) for c in range(4)
    ]
    assert (grid.origins + 256 <= (1100, 900)).all()
    assert grid.origins.dtype == np.int32
    assert (grid.tissue == 1).all()


def test_pixels_that_are_not_square_give_tiles_that_are() -> None:
    plan = _plan(_slide(3000, 3000, (0.25, 0.5)), 256, 0.5)
    assert (plan.grid.extent, plan.grid.extent_y) == (512, 256)
    assert source_size(_slide(3000, 3000, (0.25, 0.5)), plan) == (512, 256)
    assert plan.counts["grid"] == 5 * 11


@pytest.mark.parametrize(
    "level_0, wanted, expected",
    [(0.25, 0.5, 0), (0.125, 0.5, 1), (0.25, 1.0, 1), (0.2527, 1.0, 0), (0.251, 1.0, 1), (0.25, 9, 2)],
)
def test_the_coarsest_level_that_is_as_fine_as_the_tower_is_read(level_0: float, wanted: float, expected: int) -> None:
    assert choose_level(_slide(6400, 6400, (level_0, level_0), (1, 4, 16)), wanted) == expected


def test_a_tile_of_a_lower_level_lies_where_it_does_at_level_0() -> None:
    info = _slide(6400, 6400, (0.25, 0.25), (1, 4))
    plan = _plan(info, 224, 1.0)
    assert plan.level == 1
    assert np.abs(source_origins(info, plan) - plan.grid.origins / 4).max() <= 0.5


def test_a_percent_of_scale_is_a_plain_copy_and_more_is_not() -> None:
    for mpp, side in [(0.499, 256), (0.5, 256), (0.503, 256), (0.4, 320), (0.249, 512), (0.2527, 507)]:
        info = _slide(4000, 4000, (mpp, mpp))
        assert source_size(info, _plan(info, 256, 0.5)) == (side, side)


def test_a_slide_may_be_enlarged_by_half_and_no_more() -> None:
    info = _slide(4000, 4000, (0.74, 0.74))
    assert _plan(info, 256, 0.5).level == 0
    with pytest.raises(ResolutionTooCoarseError, match=r"0\.76 µm per pixel"):
        choose_level(_slide(4000, 4000, (0.76, 0.5)), 0.5)


def test_the_share_of_tissue_is_exact_for_tiles_that_cut_mask_pixels() -> None:
    generator = np.random.default_rng(0)
    tissue = generator.random((250, 250)) < 0.6
    info = _slide(4000, 4000, (0.37, 0.37))
    grid = _plan(info, 100, 0.5, tissue=tissue).grid
    fine = np.kron(tissue, np.ones((16, 16)))
    for (x, y), share in zip(grid.origins.tolist(), grid.tissue.tolist(), strict=True):
        side = 100 * 0.5 / 0.37
        inside = fine[y : y + int(side) + 2, x : x + int(side) + 2]
        weights = np.clip(side - np.arange(int(side) + 2), 0, 1)[: inside.shape[0]]
        across = np.clip(side - np.arange(int(side) + 2), 0, 1)[: inside.shape[1]]
        assert share == pytest.approx(weights @ inside @ across / side**2, abs=1e-4)


def test_each_tile_is_counted_for_the_first_filter_that_takes_it() -> None:
    # 4 × 4 tiles of 256 pixels, 16 × 16 mask pixels each.
    tissue, pen, folds = np.zeros((3, 64, 64), bool)
    tissue[:, 16:] = True
    pen[:16, 16:32], tissue[:16, 16:32] = True, False
    pen[:16, :16] = True
    folds[16:32, 32:48] = True
    folds[16:32, :16] = True
    plan = _plan(_slide(1024, 1024), 256, 0.5, tissue=tissue, pen=pen, folds=folds)
    assert plan.counts == {"grid": 16, "background": 3, "pen": 2, "fold": 1}
    kept = set(zip(plan.grid.columns.tolist(), plan.grid.rows.tolist(), strict=True))
    assert kept == {(c, r) for c in (1, 2, 3) for r in range(4)} - {(1, 0), (2, 1)}


def test_no_tile_left_says_which_filter_took_how_many() -> None:
    tissue, pen = np.zeros((2, 64, 64), bool)
    pen[:16], tissue[16:32] = True, True
    with pytest.raises(NoTissueError, match="of 16 tiles, 8 are background, 4 lie under pen marks and 4 on folds"):
        _plan(_slide(1024, 1024), 256, 0.5, tissue=tissue, pen=pen, folds=tissue)


def test_a_slide_smaller_than_a_tile_is_said() -> None:
    with pytest.raises(NoTissueError, match="smaller than one tile"):
        _plan(_slide(200, 1024), 256, 0.5)
