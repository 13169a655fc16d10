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
