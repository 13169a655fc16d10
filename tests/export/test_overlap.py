"""Patches that overlap are windows of the region, and side by side they are the simulator's own."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.export.atlas.patch_grid import STRIDE
from haiku_edge.export.cohort import GALLERY_PANELS, GALLERY_STRIDE, PATCH, Split
from haiku_edge.export.evaluation.expression import PRESENCE
from haiku_edge.export.overlap import overlapping_patches
from haiku_edge.export.synthetic import MARKERS, Region, patches, render_region, simulate_cohort


@pytest.fixture(scope="module")
def region() -> Region:
    return render_region(simulate_cohort(2, 0)[1], 2 * PATCH, 2 * PATCH, panel=MARKERS[:5])


def test_patches_side_by_side_are_those_of_the_simulator(region: Region) -> None:
    found, wanted = overlapping_patches(region, PATCH, PATCH), patches(region)
    for name in ("he", "mif", "origins", "measured"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    for name in ("expression", "expected", "expected_without_facts", "tissue_share"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-5)


def test_a_patch_shares_three_tenths_with_the_next_as_in_the_published_atlas(region: Region) -> None:
    assert GALLERY_STRIDE == STRIDE
    cut = overlapping_patches(region, PATCH, STRIDE)
    assert cut.origins.tolist() == [[0, 0], [STRIDE, 0], [0, STRIDE], [STRIDE, STRIDE]]
    np.testing.assert_array_equal(cut.he[0][:, STRIDE:], cut.he[1][:, : PATCH - STRIDE])
    np.testing.assert_array_equal(cut.mif[1][:, STRIDE:], cut.mif[3][:, : PATCH - STRIDE])
    np.testing.assert_array_equal(cut.expression[:, :5], cut.mif[:, :5].mean(axis=(2, 3)).astype(np.float32))
    assert np.isnan(cut.expression[:, 5:]).all()


def test_truth_of_a_patch_between_blocks_is_weighted_by_area(region: Region) -> None:
    cut = overlapping_patches(region, PATCH, STRIDE)
    # 179 px are 11 blocks and 3 px: of the first block 13 px remain, and of the last 3 px are in.
    weights = np.array([13.0, *[16.0] * 15, 3.0]) / PATCH
    wanted = np.einsum("myx,y,x->m", region.expected[:, 11:28, 11:28].astype(float), weights, weights)
    np.testing.assert_allclose(cut.expected[3], wanted, rtol=1e-5)


def test_galleries_lack_markers_that_the_published_procedure_keeps() -> None:
    panels = [GALLERY_PANELS[number % len(GALLERY_PANELS)] for number in range(Split().test)]
    share = {marker: np.mean([marker in panel for panel in panels]) for marker in MARKERS}
    assert min(share.values()) > PRESENCE
    assert sum(value < 1 for value in share.values()) == 7
