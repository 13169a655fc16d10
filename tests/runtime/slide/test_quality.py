"""Blur is told from focus, on real tissue and whatever the contrast."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from haiku_edge.runtime.slide.quality import is_blurred, measure_sharpness

DATA = Path(__file__).resolve().parents[3] / "../shared/data"


def _real_tiles() -> list[np.ndarray]:
    paths = sorted((DATA / "mif/orion/he_tiles").glob("*/*.tif")) + sorted((DATA / "patches/nct_crc_8").glob("*.tif"))
    if not paths:
        pytest.skip("needs the real H&E tiles in ../shared/data")
    return [np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1]) for path in paths]


def _sharpness(tiles: list[np.ndarray], sigma: float = 0.0) -> np.ndarray:
    blurred = tiles if not sigma else [cv2.GaussianBlur(tile, (0, 0), sigma) for tile in tiles]
    return np.array([measure_sharpness(tile) for tile in blurred], np.float32)


def test_no_real_tile_in_focus_is_called_blurred() -> None:
    assert is_blurred(_sharpness(_real_tiles())).sum() == 0


def test_most_real_tiles_are_called_blurred_once_they_are() -> None:
    tiles = [tile for tile in _real_tiles() if tile[:, :, 1].std() > 15]
    assert len(tiles) > 100
    assert is_blurred(_sharpness(tiles, 3.0)).mean() > 0.9


def test_pale_tissue_is_no_more_blurred_than_dark() -> None:
    tiles = [tile for tile in _real_tiles() if tile[:, :, 1].std() > 15]
    pale = [(255 - (255 - tile.astype(np.float32)) / 2).round().astype(np.uint8) for tile in tiles]
    ratio = _sharpness(pale) / _sharpness(tiles)
    assert np.all((ratio > 0.75) & (ratio < 1.25))


@pytest.mark.parametrize("grey", [0, 128, 240, 255])
def test_a_tile_without_contrast_is_not_called_blurred(grey: int) -> None:
    flat = np.full((256, 256, 3), grey, np.uint8)
    assert not is_blurred(np.array([measure_sharpness(flat)], np.float32))[0]


def test_an_unreadable_tile_is_not_called_blurred() -> None:
    assert is_blurred(np.array([np.nan, 0.0], np.float32)).tolist() == [False, True]
