"""The overview lies exactly over the slide."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.runtime.slide import overview as module
from haiku_edge.runtime.slide.overview import read_overview

from .painted import PaintedSlide, chequers, noise


def _averaged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """The mean of each square of so many pixels, white beyond the picture, worked out in one go."""
    height, width = (-(-side // factor) for side in pixels.shape[:2])
    whole = np.full((height * factor, width * factor, 3), 255.0)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    return whole.reshape(height, factor, width, factor, 3).mean((1, 3))


@pytest.mark.parametrize("tile", [(256, 256), (240, 240), (100, 36), (7, 1000)])
def test_every_overview_pixel_is_the_mean_of_its_square_whatever_the_file_tiles(tile: tuple[int, int]) -> None:
    pixels = noise(1003, 777)
    overview = read_overview(PaintedSlide([pixels], tile=tile))
    assert overview.scale == 16
    assert overview.mpp == 8
    assert overview.image.shape == (49, 63, 3)
    assert np.abs(overview.image - _averaged(pixels, 16)).max() <= 0.51


def test_chequers_stay_sharp_to_the_far_corner() -> None:
    pixels = chequers(6400, 4800, 16)
    overview = read_overview(PaintedSlide([pixels], tile=(240, 240)))
    assert np.array_equal(overview.image, chequers(400, 300, 1))


def test_the_coarsest_level_that_is_fine_enough_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_SLIDE", 0)
    levels = [noise(4096 // k, 2048 // k) for k in (1, 4, 16, 64)]
    slide = PaintedSlide(levels, mpp=(0.25, 0.25))
    overview = read_overview(slide)
    assert {level for level, _, _ in slide.reads} == {2}
    assert overview.scale == 32
    assert np.abs(overview.image - _averaged(levels[2], 2)).max() <= 0.51


def test_a_small_slide_is_averaged_from_level_0_however_its_pyramid_was_made() -> None:
    pixels = noise(2048, 1024)
    alone = read_overview(PaintedSlide([pixels]))
    with_pyramid = read_overview(PaintedSlide([pixels, noise(500, 250, seed=1), noise(127, 63, seed=2)]))
    assert np.array_equal(alone.image, with_pyramid.image)
    assert alone.scale == with_pyramid.scale


def test_each_file_tile_is_decoded_once() -> None:
    slide = PaintedSlide([noise(1000, 700)], tile=(100, 100))
    read_overview(slide)
    assert len(slide.reads) == 70
    assert set(slide.reads.values()) == {1}


def test_unreadable_file_tiles_are_white_and_counted() -> None:
    slide = PaintedSlide([np.zeros((512, 512, 3), np.uint8)], corrupt=frozenset({(0, 1, 0), (0, 0, 1)}))
    overview = read_overview(slide)
    assert overview.unreadable == 2
    assert (overview.image[:16, 16:] == 255).all()
    assert (overview.image[16:, :16] == 255).all()
    assert not overview.image[:16, :16].any()


def _pyramid(pixels: np.ndarray, *factors: float) -> list[np.ndarray]:
    """Levels that are means of the first; a factor that is no whole number is worked out on pixels five times finer."""
    levels = [pixels]
    for factor in factors:
        finer = np.kron(pixels, np.ones((5, 5, 1)))
        levels.append(np.rint(_averaged(finer, round(5 * factor))).astype(np.uint8))
    return levels


def _disc(side: int) -> np.ndarray:
    """Noise in a disc on white."""
    y, x = np.ogrid[:side, :side]
    pixels = noise(side, side)
    pixels[(y - side / 2) ** 2 + (x - side / 2) ** 2 > (side / 3) ** 2] = 255
    return pixels


@pytest.mark.parametrize("factors", [(2, 4), (2, 4.2), (2.4, 4), (4,)])
@pytest.mark.parametrize("tile", [(50, 50), (64, 48)])
def test_a_lower_levels_unreadable_tile_is_filled_in_from_the_finer_ones(
    monkeypatch: pytest.MonkeyPatch, factors: tuple[float, ...], tile: tuple[int, int]
) -> None:
    monkeypatch.setattr(module, "SMALL_SLIDE", 0)
    levels = _pyramid(_disc(840), *factors)
    last = len(factors)
    whole = read_overview(PaintedSlide(levels, tile=tile), mpp=4)
    broken = {(last, 0, 0), (last, 1, 1), (last, 2, 3), (last, 3, 3)}
    overview = read_overview(PaintedSlide(levels, tile=tile, corrupt=frozenset(broken)), mpp=4)
    assert overview.unreadable == 4
    assert overview.lost == ()
    # Each level was rounded to whole grey values on its own, and sides that no factor divides end in part of a pixel.
    difference = np.abs(overview.image.astype(int) - whole.image)
    assert difference.mean() < (0.1 if all(factor in (2, 4) for factor in factors) else 0.5)


def test_only_what_no_level_gives_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_SLIDE", 0)
    levels = _pyramid(np.zeros((1024, 1024, 3), np.uint8), 2, 4)
    corrupt = {(2, 1, 1), (1, 2, 2), (1, 3, 3), (0, 5, 4), (0, 0, 0)}
    slide = PaintedSlide(levels, tile=(64, 64), corrupt=frozenset(corrupt))
    overview = read_overview(slide, mpp=4)
    assert overview.scale == 8
    assert overview.unreadable == 1
    assert overview.lost == ((40, 32, 48, 40),)  # of level 0 tile (5, 4), 64 pixels wide
    lost = np.zeros((128, 128), bool)
    lost[32:40, 40:48] = True
    assert (overview.image[lost] == 255).all() and not overview.image[~lost].any()
    finer = {place for place in slide.reads if place[0] < 2}
    assert {place for place in finer if place[0] == 1} == {(1, c, r) for c in (2, 3) for r in (2, 3)}
    assert len(finer) == 4 + 8
    assert set(slide.reads.values()) == {1}


def test_glass_under_an_unreadable_tile_of_a_lower_level_is_not_tissue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_SLIDE", 0)
    glass = np.full((2048, 2048, 3), 243, np.uint8)
    levels = [glass, glass[::4, ::4], glass[::16, ::16]]
    overview = read_overview(PaintedSlide(levels, corrupt=frozenset({(2, 0, 0)})))
    assert overview.unreadable == 1
    assert (overview.image == 243).all() and not overview.lost


def test_a_slide_coarser_than_the_overview_is_taken_as_it_is() -> None:
    pixels = noise(300, 200)
    overview = read_overview(PaintedSlide([pixels], mpp=(29.0, 29.0)))
    assert overview.scale == 1
    assert np.array_equal(overview.image, pixels)


def test_the_overview_of_a_huge_slide_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 1000)
    overview = read_overview(PaintedSlide([noise(2000, 1000)]))
    assert overview.image.shape[0] * overview.image.shape[1] <= 1000 * 1.2
    assert overview.mpp == pytest.approx(0.5 * overview.scale)
