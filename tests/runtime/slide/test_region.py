"""A region is what was painted, wherever it lies."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.runtime.slide.region import read_region
from haiku_edge.runtime.slide.types import UnreadableTileError

from .painted import PaintedSlide, noise


def test_a_region_across_file_tiles_is_what_was_painted() -> None:
    pixels = noise(700, 500)
    slide = PaintedSlide([pixels], tile=(96, 160))
    for x, y, width, height in [(0, 0, 700, 500), (95, 159, 2, 2), (96, 160, 96, 160), (13, 17, 500, 333)]:
        region = read_region(slide, 0, x, y, width, height)
        assert np.array_equal(region, pixels[y : y + height, x : x + width])


def test_each_file_tile_under_a_region_is_decoded_once() -> None:
    slide = PaintedSlide([noise(700, 500)], tile=(96, 160))
    read_region(slide, 0, 90, 150, 120, 20)
    assert slide.reads == {(0, column, row): 1 for column in (0, 1, 2) for row in (0, 1)}


def test_beyond_the_level_is_white() -> None:
    pixels = noise(300, 200)
    slide = PaintedSlide([pixels], tile=(128, 128))
    region = read_region(slide, 0, -20, -10, 400, 300)
    expected = np.full((300, 400, 3), 255, np.uint8)
    expected[10:210, 20:320] = pixels
    assert np.array_equal(region, expected)


@pytest.mark.parametrize("x, y", [(-500, 0), (0, -500), (300, 0), (0, 200)])
def test_a_region_wholly_outside_is_white_and_reads_nothing(x: int, y: int) -> None:
    slide = PaintedSlide([noise(300, 200)])
    assert (read_region(slide, 0, x, y, 100, 100) == 255).all()
    assert not slide.reads


def test_a_corrupt_file_tile_is_said() -> None:
    slide = PaintedSlide([noise(300, 200)], tile=(128, 128), corrupt=frozenset({(0, 1, 1)}))
    assert read_region(slide, 0, 0, 0, 128, 200).shape == (200, 128, 3)
    with pytest.raises(UnreadableTileError):
        read_region(slide, 0, 100, 100, 50, 50)
