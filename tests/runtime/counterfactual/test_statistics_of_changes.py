"""The lean statistics against SciPy, scikit-learn and what can be counted by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from haiku_edge.runtime.counterfactual.blocks import LEAST_TILES, cut_into_blocks, sums_by_block
from haiku_edge.runtime.counterfactual.niches import k_means
from haiku_edge.runtime.counterfactual.statistics import (
    benjamini_hochberg,
    bootstrap_interval,
    paired_effect,
    sign_flip,
    wilcoxon,
)


def draws(seed: int, count: int, shift: float = 0.3) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(shift, 1, count)


@pytest.mark.parametrize("count", [3, 6, 12, 30, 50])
def test_signed_rank_test_without_ties_is_scipys_exact_one(count: int) -> None:
    for seed in range(5):
        own = draws(seed, count)
        assert wilcoxon(own) == pytest.approx(stats.wilcoxon(own, method="exact").pvalue, rel=1e-9)


def test_signed_rank_test_with_many_ties_is_scipys_normal_approximation() -> None:
    own = np.round(draws(3, 200, 0.2), 1)
    expected = stats.wilcoxon(own, zero_method="wilcox", correction=False, method="asymptotic").pvalue
    assert wilcoxon(own) == pytest.approx(expected, rel=1e-6)


def test_signed_rank_test_with_few_ties_counts_every_way_of_signs() -> None:
    own = np.array([1.0, 1.0, -2.0, 3.0, 3.0, -1.0, 0.0])
    ranks = stats.rankdata(np.abs(own[own != 0]))
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=6)]
    reached = ranks[own[own != 0] > 0].sum()
    counted = 2 * min(np.mean([s >= reached for s in sums]), np.mean([s <= reached for s in sums]))
    assert wilcoxon(own) == pytest.approx(min(1.0, counted))


def test_no_difference_at_all_is_no_evidence() -> None:
    assert wilcoxon(np.zeros(8)) == 1 and sign_flip(np.zeros(8)) == 1
    assert np.isnan(wilcoxon(np.full(4, np.nan))) and np.isnan(sign_flip(np.empty(0)))


def test_sign_flips_are_scipys_exact_permutation_test() -> None:
    own = draws(1, 9, 0.6)
    found = stats.permutation_test((own,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(own) == pytest.approx(found.pvalue)


def test_drawn_sign_flips_come_near_the_t_test_of_normal_differences() -> None:
    own = draws(5, 60, 0.25)
    assert sign_flip(own) == pytest.approx(stats.ttest_1samp(own, 0).pvalue, abs=0.01)


def test_false_discovery_rates_are_scipys_and_leave_out_what_was_not_tested() -> None:
    p = np.random.default_rng(0).uniform(size=17) ** 2
    assert np.allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    holes = np.insert(p, [3, 9], np.nan)
    assert np.allclose(
        benjamini_hochberg(holes), np.insert(stats.false_discovery_control(p), [3, 9], np.nan), equal_nan=True
    )


def test_effect_size_is_the_t_statistic_over_the_root_of_the_number() -> None:
    own = draws(2, 14)
    assert paired_effect(own) == pytest.approx(stats.ttest_1samp(own, 0).statistic / np.sqrt(14))
    assert np.isnan(paired_effect(np.full(5, 0.2)))


def test_bootstrap_interval_is_scipys_percentile_one_and_holds_the_mean() -> None:
    own = draws(4, 40)
    low, high = bootstrap_interval(own[:, None], np.ones((40, 1)), resamples=20_000)
    expected = stats.bootstrap((own,), np.mean, method="percentile", n_resamples=20_000, rng=0).confidence_interval
    assert low[0] == pytest.approx(expected.low, abs=0.02) and high[0] == pytest.approx(expected.high, abs=0.02)


def test_interval_weighs_units_by_their_tiles_and_needs_five_of_them() -> None:
    sums, weights = np.array([[10.0], [0.0]] * 3), np.array([[100.0], [1.0]] * 3)
    low, high = bootstrap_interval(sums, weights)
    assert low[0] < sums.sum() / weights.sum() <= high[0] and high[0] <= 0.1 + 1e-12
    assert np.isnan(bootstrap_interval(sums[:4], weights[:4])[0][0])


def test_niches_fit_as_well_as_scikit_learns() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 16)) * 2
    points = np.concatenate([centre + random.normal(size=(60 + 20 * i, 16)) for i, centre in enumerate(centres)])
    own, other = k_means(points), KMeans(4, n_init=10, random_state=42).fit(points)
    assert own.inertia == pytest.approx(other.inertia_, rel=1e-6)
    assert adjusted_rand_score(own.labels, other.labels_) == pytest.approx(1)
    assert np.bincount(own.labels).tolist() == sorted(np.bincount(own.labels), reverse=True)


def test_niches_of_structureless_points_are_within_a_percent_of_scikit_learns() -> None:
    points = np.random.default_rng(1).normal(size=(300, 8))
    own, other = k_means(points), KMeans(4, n_init=10, random_state=42).fit(points)
    assert own.inertia <= 1.01 * other.inertia_


def test_niches_of_a_large_slide_are_fitted_to_a_part_of_it_and_hold_all_tiles() -> None:
    random = np.random.default_rng(3)
    centres = random.normal(size=(3, 6)) * 4
    points = (centres[:, None] + random.normal(size=(3, 3000, 6))).reshape(-1, 6)
    own, other = k_means(points, 3), KMeans(3, n_init=3, random_state=0).fit(points)
    assert len(own.labels) == 9000 and own.inertia <= 1.01 * other.inertia_


def test_equal_points_are_one_niche_and_the_order_of_clusters_is_repeatable() -> None:
    assert k_means(np.ones((7, 3))).labels.tolist() == [0] * 7
    points = np.random.default_rng(2).normal(size=(50, 3))
    assert np.array_equal(k_means(points).labels, k_means(points).labels)


def test_blocks_are_squares_of_whole_tiles_and_small_ones_do_not_count() -> None:
    row, column = np.divmod(np.arange(40 * 40), 40)
    blocks = cut_into_blocks(column * 0.128, row * 0.128, 0.128)
    assert blocks.side_mm == pytest.approx(1.024) and blocks.count == 25
    for label in range(blocks.count):
        own = blocks.labels == label
        assert own.sum() == 64 and np.ptp(column[own]) == 7 and np.ptp(row[own]) == 7
    lonely = cut_into_blocks(np.array([0, 0.128, 9.0]), np.zeros(3), 0.128)
    assert lonely.count == 0 and (lonely.labels == -1).all() and LEAST_TILES > 3


def test_a_small_piece_of_tissue_gets_smaller_blocks() -> None:
    row, column = np.divmod(np.arange(12 * 16), 16)
    blocks = cut_into_blocks(column * 0.128, row * 0.128, 0.128)
    assert blocks.side_mm < 0.6 and blocks.count >= 12


def test_sums_by_block_leave_out_what_is_not_known() -> None:
    row, column = np.divmod(np.arange(16 * 16), 16)
    blocks = cut_into_blocks(column * 0.5, row * 0.5, 0.5)
    values = np.random.default_rng(0).normal(size=(256, 2))
    values[::7, 1] = np.nan
    sums, numbers = sums_by_block(values, blocks)
    own = blocks.labels == 3
    assert sums[3, 1] == pytest.approx(np.nansum(values[own, 1])) and numbers[3, 0] == own.sum()
    assert numbers[3, 1] == np.isfinite(values[own, 1]).sum()
