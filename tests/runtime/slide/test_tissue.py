"""Tissue, pen and folds where they were painted, and on real pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from haiku_edge.runtime.slide.overview import Overview
from haiku_edge.runtime.slide.tissue import find_folds, find_masks, find_pen, find_tissue

DATA = Path(__file__).resolve().parents[3] / "../shared/data/patches"

GLASS = (243, 242, 244)
STROMA = (226, 178, 205)
TUMOUR = (150, 90, 155)
INKS = {"blue": (40, 110, 200), "green": (60, 165, 140), "black": (25, 25, 30), "red": (200, 30, 45)}


def _scene(*shapes: tuple[tuple[int, int, int, int], tuple[int, int, int]], size: int = 300) -> Overview:
    """Glass with rectangles (x, y, width, height) of one colour each, with a camera's noise."""
    image = np.empty((size, size, 3), np.float32)
    image[:] = GLASS
    for (x, y, width, height), colour in shapes:
        image[y : y + height, x : x + width] = colour
    image += np.random.default_rng(0).normal(0, 2, image.shape)
    return Overview(image.clip(0, 255).astype(np.uint8), 16.0, 0)


def _real(name: str, factor: int, mpp: float = 8.0) -> Overview:
    path = DATA / name
    if not path.exists():
        pytest.skip("needs the real pictures in ../shared/data")
    image = cv2.imread(str(path))[:, :, ::-1]
    return Overview(cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA), 1.0, 0, mpp)


def test_painted_tissue_is_found_to_within_two_pixels() -> None:
    mask = find_tissue(_scene(((50, 60, 100, 120), STROMA), ((200, 60, 60, 200), TUMOUR)))
    painted = np.zeros((300, 300), np.uint8)
    painted[60:180, 50:150] = 1
    painted[60:260, 200:260] = 1
    assert mask[cv2.erode(painted, np.ones((5, 5))) > 0].all()
    assert not mask[cv2.dilate(painted, np.ones((5, 5))) == 0].any()


def test_an_empty_slide_has_no_tissue() -> None:
    masks = find_masks(_scene())
    assert not masks.tissue.any()
    assert not masks.pen.any()
    assert not masks.folds.any()


@pytest.mark.parametrize("colour", [STROMA, TUMOUR])
def test_a_slide_full_of_tissue_is_all_tissue(colour: tuple[int, int, int]) -> None:
    assert find_tissue(_scene(((0, 0, 300, 300), colour))).mean() > 0.99


def test_a_slide_of_dark_and_pale_tissue_is_all_tissue() -> None:
    assert find_tissue(_scene(((0, 0, 150, 300), STROMA), ((150, 0, 150, 300), TUMOUR))).mean() > 0.99


def test_debris_is_dropped_and_small_holes_are_filled() -> None:
    # At 8 µm/px a 5-pixel square is 1,600 µm², a 12-pixel one 9,216 µm², a 60-pixel one 230,400 µm².
    mask = find_tissue(
        _scene(
            ((20, 20, 5, 5), TUMOUR),
            ((60, 60, 200, 200), STROMA),
            ((80, 80, 12, 12), GLASS),
            ((150, 150, 60, 60), GLASS),
        )
    )
    assert not mask[15:30, 15:30].any()
    assert mask[80:92, 80:92].all()
    assert not mask[160:200, 160:200].any()


def test_grey_dirt_and_shadows_are_no_tissue() -> None:
    assert not find_tissue(_scene(((0, 0, 300, 20), (120, 120, 121)), ((100, 100, 60, 60), (200, 200, 201)))).any()


@pytest.mark.parametrize("ink", INKS)
def test_ink_is_found_and_is_no_tissue(ink: str) -> None:
    overview = _scene(((100, 0, 150, 300), STROMA), ((60, 100, 120, 40), INKS[ink]))
    masks = find_masks(overview)
    assert masks.pen[100:140, 60:180].all()
    assert masks.pen.sum() < 1.5 * 120 * 40
    assert not (masks.tissue & masks.pen).any()
    assert masks.tissue[200:290, 110:240].all()


def test_stained_tissue_is_not_taken_for_ink() -> None:
    blood, lymph, pale = (185, 60, 95), (58, 27, 74), (235, 215, 228)
    overview = _scene(((0, 0, 100, 300), blood), ((100, 0, 100, 300), lymph), ((200, 0, 100, 300), pale))
    assert not find_pen(overview).any()


def test_a_fold_is_found_and_dense_glands_are_not() -> None:
    muscle = (205, 115, 168)
    fold, gland = tuple(int(value * value / 243) for value in muscle), (95, 50, 110)
    shapes = [((20, 20, 260, 260), muscle), ((60, 100, 150, 8), fold)]
    shapes += [((x, 200, 26, 26), gland) for x in (40, 100, 160, 220)]
    overview = _scene(*shapes)
    folds = find_folds(overview, find_tissue(overview))
    assert folds[102:106, 65:205].all()
    assert not folds[150:].any()


def test_a_dense_line_beside_glass_is_no_fold() -> None:
    shapes = [((20, 20, 260, 260), (205, 115, 168)), ((40, 100, 200, 80), GLASS), ((60, 92, 150, 8), (172, 54, 116))]
    overview = _scene(*shapes)
    assert not find_folds(overview, find_tissue(overview)).any()


def test_tissue_that_is_dense_all_over_has_no_folds() -> None:
    overview = _scene(*[((0, y, 300, 10), TUMOUR) for y in range(0, 300, 20)], ((0, 0, 1, 1), STROMA))
    masks = find_masks(overview)
    assert masks.tissue.any()
    assert not masks.folds.any()


@pytest.mark.parametrize(
    "name, factor", [("almost-white-1", 8), ("no-tissue", 4), ("no-tissue2", 4), ("no-tissue-line", 4)]
)
def test_real_glass_with_dirt_has_no_tissue(name: str, factor: int) -> None:
    assert not find_tissue(_real(f"histolab/{name}.png", factor)).any()


@pytest.mark.parametrize("name", ["no-tissue-green-pen", "no-tissue-red-pen"])
def test_real_ink_on_glass_is_pen_and_nothing_else(name: str) -> None:
    masks = find_masks(_real(f"histolab/{name}.png", 4))
    assert masks.pen.mean() > 0.5
    assert masks.tissue.mean() < 0.01


@pytest.mark.parametrize("name, least, most", [("tcga-green-pen", 0.15, 0.35), ("tcga-red-pen", 0.2, 0.4)])
def test_real_ink_on_tissue_leaves_the_rest_of_the_tissue(name: str, least: float, most: float) -> None:
    masks = find_masks(_real(f"histolab/{name}.png", 4))
    assert least < masks.pen.mean() < most
    assert masks.tissue.mean() > 0.55


@pytest.mark.parametrize(
    "name",
    ["high-nuclei-score-level0", "medium-nuclei-score-level0", "very-low-nuclei-score-level0", "tcga-lung-rgb"],
)
def test_real_tissue_is_kept_whole(name: str) -> None:
    masks = find_masks(_real(f"histolab/{name}.png", 8, 4.0))
    assert masks.tissue.mean() > 0.98
    assert not masks.pen.any()
    assert not masks.folds.any()


def test_the_real_fold_is_found() -> None:
    masks = find_masks(_real("histolab/high-nuclei-score-red-pen-level1.png", 4))
    assert 0.03 < masks.folds.mean() < 0.1
