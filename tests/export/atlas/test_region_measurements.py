"""The published arithmetic of clips, statistics and patterns, against a second way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haiku_edge.export.atlas.clip import clip_channel, clip_range, to_uint16
from haiku_edge.export.atlas.patch_grid import patch_corners
from haiku_edge.export.atlas.patch_statistics import against_the_rest, bright_means, outstanding, spatial_pattern
from haiku_edge.export.atlas.tissue_mask import tissue_mask

from .painted_regions import MPP, nuclei


def slow_range(channel: np.ndarray, tissue: np.ndarray) -> tuple[int, int]:
    """The rule of reference 1.9, point 2, one bin at a time."""
    lower = int(np.median(channel[~tissue]))
    own = channel[tissue]
    own = own[own != own.max()]
    upper = min(65535, max(lower + 1000, int(1.1 * np.quantile(own, 0.99))))
    ends = list(range(lower, upper, 256))
    survivors = []
    for position in range(len(ends) - 1):
        last = position == len(ends) - 2
        below = channel <= ends[position + 1] if last else channel < ends[position + 1]
        inside = (channel >= ends[position]) & below
        if channel.size / 5000 < inside.sum() <= channel.size / 10:
            survivors.append(position)
    return ends[survivors[0]], ends[survivors[-1] + 1]


@pytest.mark.parametrize("seed", range(4))
def test_the_clip_is_the_published_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tissue = np.zeros((300, 400), np.bool_)
    tissue[:, 150:] = True
    signal = rng.gamma(1.5, 4000, tissue.shape) * tissue + rng.normal(900, 80, tissue.shape)
    channel = np.clip(signal, 0, 65535).astype(np.uint16)
    low, high = clip_range(channel, tissue)
    assert (low, high) == slow_range(channel, tissue)
    clipped = clip_channel(channel, tissue)
    for count in (0, low, (low + high) // 2, high, 65535):
        expected = round(255 * min(max(count - low, 0), high - low) / (high - low))
        found = clip_channel(np.where(np.arange(channel.size).reshape(channel.shape) == 0, count, channel), tissue)
        assert abs(int(found[0, 0]) - expected) <= 1
    assert clipped.dtype == np.uint8


def test_eight_bit_and_unmixed_images_are_brought_to_sixteen_bits() -> None:
    assert to_uint16(np.array([[0, 1, 255]], np.uint8)).tolist() == [[0, 256, 65280]]
    assert to_uint16(np.array([[0.0, 0.5, np.nan, -3.0, 2.0]], np.float32)).tolist() == [[0, 16384, 0, 0, 65535]]
    assert to_uint16(np.array([[-5, 70000, 7]], np.int32)).tolist() == [[0, 65535, 7]]


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_channel_can_be_clipped(value: int) -> None:
    channel = np.full((64, 64), value, np.uint8)
    for tissue in (np.zeros((64, 64), np.bool_), np.ones((64, 64), np.bool_)):
        assert len(np.unique(clip_channel(channel, tissue))) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_each_patch_is_compared_with_the_others_alone(seed: int, count: int) -> None:
    means = np.random.default_rng(seed).uniform(0, 255, (count, 3)).astype(np.float32)
    means[:, 2] = np.round(means[:, 2] / 100)  # ties
    z, percentile = against_the_rest(means)
    for row in range(count):
        rest = np.delete(means, row, axis=0).astype(np.float64)
        expected = (means[row] - rest.mean(axis=0)) / (rest.std(axis=0) + 1e-6)
        close = np.abs(rest.std(axis=0)) > 1e-3  # two alike others leave a spread of 0, and z without meaning
        np.testing.assert_allclose(z[row][close], expected[close], rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(percentile[row], 100 * (rest <= means[row]).mean(axis=0), atol=1e-3)


def test_a_lone_patch_stands_out_in_nothing() -> None:
    z, percentile = against_the_rest(np.array([[3.0, 200.0]], np.float32))
    assert z.tolist() == [[0.0, 0.0]]
    assert percentile.tolist() == [[50.0, 50.0]]
    assert outstanding(z[0]) == ([], [])


def test_the_five_most_extreme_markers_of_each_sign_are_named() -> None:
    z = np.array([0.5, -3, 2, 7, 1, 6, 4, -1, 0], np.float32)
    assert outstanding(z) == ([3, 5, 6, 2, 4], [1, 7])


def test_bright_means_leave_zeros_out() -> None:
    mif = np.zeros((2, 4, 4), np.uint8)
    mif[0, 0, :2] = 10, 30
    assert bright_means(mif).tolist() == [20.0, 0.0]


def painted(coverage: float, *, spread: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    on = rng.random((256, 256)) < coverage
    values = np.clip(120 + spread * rng.standard_normal((256, 256)), 1, 255) * on
    return values.astype(np.uint8)


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        (np.zeros((256, 256), np.uint8), "sparse"),
        (painted(0.05), "sparse"),
        (painted(0.2), "scattered_sparse"),
        (painted(0.5, spread=5), "uniform_moderate"),
        (painted(0.5, spread=120), "heterogeneous_moderate"),
        (painted(0.9, spread=80), "heterogeneous_dense"),
        (np.pad(np.full((250, 256), 120, np.uint8), ((6, 0), (0, 0))), "uniform_dense"),
    ],
)
def test_patterns_have_the_published_names(channel: np.ndarray, name: str) -> None:
    assert spatial_pattern(channel) == name


def test_tissue_lies_where_nuclei_were_painted() -> None:
    where = np.zeros((600, 900), np.bool_)
    where[100:500, 300:] = True
    mask = tissue_mask(nuclei(600, 900, where), MPP)
    reach = round(25 / MPP)
    outside = np.ones_like(where)
    outside[100 - reach : 500 + reach, 300 - reach :] = False
    assert mask[120:480, 320:880].mean() > 0.99
    assert not mask[outside].any()


def test_noise_and_an_empty_channel_are_no_tissue() -> None:
    assert not tissue_mask(np.random.default_rng(0).poisson(50, (500, 500)), MPP).any()
    assert not tissue_mask(np.zeros((500, 500), np.uint16), MPP).any()


def test_tissue_that_fills_the_field_is_all_tissue() -> None:
    assert tissue_mask(nuclei(500, 500, np.ones((500, 500), np.bool_)), MPP).mean() > 0.98


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 900), st.integers(200, 900), st.integers(0, 100))
def test_patches_never_leave_the_region_and_hold_enough_tissue(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tissue = np.zeros((height, width), np.bool_)
    tissue[: rng.integers(1, height + 1), : rng.integers(1, width + 1)] = True
    corners = patch_corners(tissue, np.random.default_rng(seed))
    for x, y in corners:
        assert x >= 0
        assert y >= 0
        assert x + 256 <= width
        assert y + 256 <= height
        assert tissue[y : y + 256, x : x + 256].mean() >= 0.9
    if min(height, width) >= 256 and tissue.all():
        assert len(corners)
