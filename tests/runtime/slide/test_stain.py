"""H&E is told from what isn't."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from haiku_edge.runtime.slide.overview import Overview
from haiku_edge.runtime.slide.stain import check_stain
from haiku_edge.runtime.slide.tissue import find_tissue

DATA = Path(__file__).resolve().parents[3] / "../shared/data"

HAEMATOXYLIN, EOSIN, BROWN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)
"""Optical density of one unit of each stain in red, green and blue (Ruifrok and Johnston 2001)."""


def _looks_like(image: np.ndarray, mpp: float = 8.0) -> str:
    overview = Overview(np.ascontiguousarray(image), 1.0, 0, mpp)
    stain = check_stain(overview, find_tissue(overview))
    assert stain.reason.endswith(".")
    return stain.looks_like


def _stained(first: tuple[float, ...], second: tuple[float, ...], amounts: tuple[float, float]) -> np.ndarray:
    """A field of two stains in varying amounts, by Beer–Lambert, with glass around it."""
    field = np.random.default_rng(0).gamma(4, 0.25, (200, 200, 2)) * amounts
    field = cv2.GaussianBlur(field, (0, 0), 1)
    field[:40] = 0
    density = field[:, :, :1] * np.array(first) + field[:, :, 1:] * np.array(second)
    return (243 * 10**-density).astype(np.uint8)


def _real(path: str, factor: int) -> np.ndarray:
    if not (DATA / path).exists():
        pytest.skip("needs the real pictures in ../shared/data")
    image = cv2.imread(str(DATA / path))[:, :, ::-1]
    return cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("amounts", [(0.2, 0.2), (0.5, 0.1), (0.05, 0.3), (0.6, 0.5)])
def test_haematoxylin_and_eosin_in_any_measure_are_h_and_e(amounts: tuple[float, float]) -> None:
    assert _looks_like(_stained(HAEMATOXYLIN, EOSIN, amounts)) == "H&E"


def test_brown_is_immunohistochemistry() -> None:
    assert _looks_like(_stained(HAEMATOXYLIN, BROWN, (0.2, 0.4))) == "IHC"


def test_a_dark_background_is_fluorescence() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[50:100, 50:100] = (0, 160, 200)
    assert _looks_like(image) == "fluorescence"


def test_bare_glass_is_unknown() -> None:
    assert _looks_like(np.full((200, 200, 3), 243, np.uint8)) == "unknown"


def test_real_h_and_e_tiles_are_h_and_e() -> None:
    paths = sorted((DATA / "mif/orion/he_tiles").glob("*/*.tif"))
    if not paths:
        pytest.skip("needs the real H&E tiles in ../shared/data")
    tiles = [cv2.resize(cv2.imread(str(p))[:, :, ::-1], (28, 28), interpolation=cv2.INTER_AREA) for p in paths]
    for start in range(0, len(tiles) - 15, 16):
        assert _looks_like(np.hstack(tiles[start : start + 16]), 4.0) == "H&E"


@pytest.mark.parametrize("place", ["310-500-360-530", "330-480-380-510", "340-520-390-550", "350-530-360-540"])
def test_the_real_ihc_kidney_is_ihc(place: str) -> None:
    assert _looks_like(_real(f"patches/histolab/kidney-ihc-level0-{place}.png", 1)) == "IHC"


@pytest.mark.parametrize("folder, pattern", [("mif/phenoptr", "*composite*"), ("mif/orion/thumbnails", "*.jpg")])
def test_real_composites_of_fluorescence_are_fluorescence(folder: str, pattern: str) -> None:
    paths = sorted((DATA / folder).glob(pattern))
    if not paths:
        pytest.skip("needs the real composites in ../shared/data")
    assert {_looks_like(_real(f"{folder}/{path.name}", 4)) for path in paths[:12]} == {"fluorescence"}
