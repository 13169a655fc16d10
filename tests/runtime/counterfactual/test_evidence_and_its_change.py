"""Ranking, prevalence and the split of a change, against the published formulas written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.counterfactual import (
    NullDistribution,
    Ranked,
    Search,
    Tiles,
    analyse,
    decompose,
    prevalence,
    rank_evidence,
)
from haiku_edge.runtime.counterfactual.composition import evidence_by, turnover
from tests.runtime.inference.small_atlas import small_atlas, unit

DIMENSION, PATCHES, MARKERS = 12, 120, 4


def make_atlas(seed: int = 0) -> Atlas:
    """120 patches of 15 patients in 3 organs; a third of the markers unmeasured at random."""
    random = np.random.default_rng(seed)
    expression = random.uniform(0, 200, (PATCHES, MARKERS))
    expression[random.uniform(size=expression.shape) < 0.3] = np.nan
    atlas = small_atlas(
        random.normal(size=(PATCHES, DIMENSION)) + 1.0, expression, [f"p{i % 15}" for i in range(PATCHES)]
    )
    facts = {f"p{i}": {"stage": ("I", "II", "IV")[i % 3], "grade": str(1 + i % 2)} for i in range(15)}
    return replace(atlas, organs=np.array(["Colon", "Lung", "Breast"])[np.arange(PATCHES) % 3], facts=facts)


def queries(seed: int, count: int = 30) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).normal(size=(count, DIMENSION)) + 0.7)


ATLAS, TILES = make_atlas(), queries(1)
BEFORE, AFTER = queries(2, 1)[0], queries(3, 1)[0]


def cosines(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    return vectors.astype(np.float64) @ ATLAS.vectors.T.astype(np.float64)


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(values / 0.07)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def places(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank 1 for the largest."""
    return np.asarray(1 + (values[..., None, :] > values[..., :, None]).sum(axis=-1), np.float64)


@pytest.mark.parametrize("fusion", ["sum", "softmax", "rrf"])
def test_fused_scores_are_the_published_ones(fusion: str) -> None:
    a, b = cosines(TILES), cosines(BEFORE[None])
    expected = {
        "sum": 0.6 * a + 0.4 * b,
        "softmax": 0.6 * softmax(a) + 0.4 * softmax(b),
        "rrf": 0.6 / (60 + places(a)) + 0.4 / (60 + places(b)),
    }[fusion]
    found = rank_evidence(ATLAS, TILES, BEFORE, Search(fusion, 0.4, 50))  # type: ignore[arg-type]
    best = -np.sort(-expected, axis=1)[:, :50]
    assert np.allclose(found.scores, best, rtol=1e-5, atol=1e-7)
    assert np.allclose(np.take_along_axis(expected, found.ids, axis=1), best, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("fusion", ["sum", "softmax", "rrf"])
def test_what_is_not_allowed_is_no_evidence_and_too_few_are_said(fusion: str) -> None:
    allowed = np.zeros(PATCHES, np.bool_)
    allowed[[3, 40, 77]] = True
    found = rank_evidence(ATLAS, TILES, BEFORE, Search(fusion, 0.4, 5, allowed))  # type: ignore[arg-type]
    assert (np.sort(found.ids, axis=1) == [-1, -1, 3, 40, 77]).all() and np.isneginf(found.scores[:, 3:]).all()


@pytest.mark.parametrize("fusion", ["sum", "softmax", "rrf"])
def test_ranks_do_not_depend_on_the_other_tiles(fusion: str) -> None:
    search = Search(fusion, 0.4, 20)  # type: ignore[arg-type]
    together, alone = rank_evidence(ATLAS, TILES, BEFORE, search), rank_evidence(ATLAS, TILES[7:8], BEFORE, search)
    assert np.array_equal(together.ids[7:8], alone.ids)


def test_prevalence_is_the_score_weighted_share_of_the_positive_among_those_that_measured() -> None:
    found = rank_evidence(ATLAS, TILES, BEFORE, Search())
    own = prevalence(ATLAS.positive, found)
    for tile, marker in ((0, 0), (5, 2), (29, 3)):
        top = bottom = 0.0
        for patch, score in zip(found.ids[tile], found.scores[tile], strict=True):
            if np.isfinite(ATLAS.expression[patch, marker]):
                top += float(score) * float(ATLAS.positive[patch, marker])
                bottom += float(score)
        assert own[tile, marker] == pytest.approx(top / bottom)


def test_prevalence_is_unknown_where_no_evidence_measured_the_marker() -> None:
    positive = np.array([[1, np.nan], [0, np.nan]], np.float32)
    ranked = Ranked(np.array([[0, 1], [-1, -1]]), np.array([[0.6, 0.2], [-np.inf, -np.inf]], np.float32))
    own = prevalence(positive, ranked)
    assert own[0, 0] == pytest.approx(0.75) and np.isnan(own[0, 1]) and np.isnan(own[1]).all()


@settings(max_examples=25, deadline=None)
@given(seed=some.integers(0, 10_000), groups=some.integers(1, 120))
def test_composition_and_within_sum_to_the_difference_whatever_the_grouping(seed: int, groups: int) -> None:
    random = np.random.default_rng(seed)
    texts = unit(random.normal(size=(2, DIMENSION)) + 0.5)
    labels = random.integers(0, groups, PATCHES).astype(np.str_)
    one, other = (rank_evidence(ATLAS, TILES, text, Search(neighbours=9)) for text in texts)
    split = decompose(ATLAS.positive, one, other, "random", labels)
    change = prevalence(ATLAS.positive, other) - prevalence(ATLAS.positive, one)
    assert np.allclose(split.between + split.within, np.nanmean(change, axis=0), atol=1e-12)
    assert split.before.sum() == pytest.approx(1) and split.after.sum() == pytest.approx(1)


def test_one_group_leaves_no_composition_and_every_patch_its_own_group_leaves_nothing_else() -> None:
    one, other = (rank_evidence(ATLAS, TILES, text, Search(neighbours=9)) for text in (BEFORE, AFTER))
    same = decompose(ATLAS.positive, one, other, "all", np.array(["all"] * PATCHES))
    each = decompose(ATLAS.positive, one, other, "patch", ATLAS.patches)
    assert np.allclose(same.between, 0, atol=1e-12) and np.abs(same.within).max() > 0.01
    assert np.allclose(each.within, 0, atol=1e-12)


def test_a_change_of_organs_alone_is_all_composition() -> None:
    positive = np.array([[1], [1], [0], [0]], np.float32)
    one = Ranked(np.array([[0, 2]]), np.array([[0.5, 0.5]], np.float32))
    other = Ranked(np.array([[1, 0]]), np.array([[0.5, 0.5]], np.float32))
    split = decompose(positive, one, other, "organ", np.array(["Colon", "Colon", "Lung", "Lung"]))
    assert split.between[0] == pytest.approx(0.5) and split.within[0] == pytest.approx(0)
    assert split.before.tolist() == [0.5, 0.5] and split.after.tolist() == [1, 0]


@settings(max_examples=50, deadline=None)
@given(seed=some.integers(0, 10_000), groups=some.integers(1, 8))
def test_parts_sum_to_the_difference_where_scores_are_negative(seed: int, groups: int) -> None:
    random = np.random.default_rng(seed)
    positive = (random.uniform(size=(12, 3)) < 0.5).astype(np.float32)
    labels = random.integers(0, groups, 12).astype(np.str_)
    one, other = (
        Ranked(np.tile(random.permutation(12), (1, 1)), random.normal(0.3, 0.5, (1, 12)).astype(np.float32))
        for _ in range(2)
    )
    split = decompose(positive, one, other, "random", labels)
    change = (prevalence(positive, other) - prevalence(positive, one))[0]
    assert np.array_equal(np.isnan(split.between), np.isnan(change))
    known = np.isfinite(change)
    assert np.allclose((split.between + split.within)[known], change[known], rtol=1e-6, atol=1e-6)


def test_a_group_that_holds_less_than_nothing_is_split_exactly() -> None:
    positive = np.array([[1], [0], [1]], np.float32)
    one = Ranked(np.array([[0, 1, 2]]), np.array([[0.5, 0.75, -0.25]], np.float32))
    other = Ranked(np.array([[0, 1, 2]]), np.array([[0.25, 0.5, 0.25]], np.float32))
    split = decompose(positive, one, other, "group", np.array(["a", "a", "b"]))
    # Before 0.5 - 0.25 = 0.25, after 0.25 + 0.25 = 0.5; group b, all positive, only grows: composition.
    assert split.between[0] + split.within[0] == pytest.approx(0.25)
    assert split.between[0] == pytest.approx(0.5 * 1 - 0.5 * (0.4 + 1 / 3) / 2)


def test_a_group_whose_shares_cancel_out_can_not_be_split() -> None:
    positive = np.array([[1], [0], [1]], np.float32)
    one = Ranked(np.array([[0, 1, 2]]), np.array([[0.5, -0.5, 1.0]], np.float32))
    other = Ranked(np.array([[0, 1, 2]]), np.array([[0.5, 0.25, 0.25]], np.float32))
    split = decompose(positive, one, other, "group", np.array(["a", "a", "b"]))
    assert np.isnan(split.between[0]) and np.isnan(split.within[0])
    apart = decompose(positive, one, other, "patch", np.array(["a", "b", "c"]))
    assert apart.between[0] + apart.within[0] == pytest.approx(0.75 - 1.5)


def test_turnover_counts_patches_that_are_not_in_both() -> None:
    one = Ranked(np.array([[0, 1, 2]]), np.ones((1, 3), np.float32))
    other = Ranked(np.array([[2, 3, -1]]), np.ones((1, 3), np.float32))
    assert turnover(one, other) == (pytest.approx(1 - 1 / 4), pytest.approx(1 / 2))
    assert turnover(one, one) == (0, 0)


def test_evidence_by_patient_follows_the_scores() -> None:
    ranked = Ranked(np.array([[0, 1], [1, -1]]), np.array([[0.9, 0.3], [0.5, -np.inf]], np.float32))
    assert evidence_by(ranked, np.array([0, 1, 1]), 2) == pytest.approx([0.375, 0.625])


def lay_out(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    row, column = np.divmod(np.arange(count), 20)
    return column * 0.128, row * 0.128


def test_without_weight_of_the_text_nothing_changes_at_all() -> None:
    he = queries(5, 200)
    found = analyse(ATLAS, Tiles(he, *lay_out(200), 0.128), BEFORE, AFTER, Search(text_weight=0.0, neighbours=20))
    assert np.array_equal(found.before, found.after) and found.turnover == 0
    assert (found.changes.difference == 0).all() and (found.changes.p == 1).all()
    assert all((part.between == 0).all() and (part.within == 0).all() for part in found.compositions)


def test_the_same_text_changes_nothing_under_any_fusion() -> None:
    he = queries(5, 60)
    for fusion in ("sum", "softmax", "rrf"):
        search = Search(fusion, 0.4, 20)  # type: ignore[arg-type]
        found = analyse(ATLAS, Tiles(he, *lay_out(60), 0.128), BEFORE, BEFORE.copy(), search)
        assert (found.changes.difference == 0).all()


def test_slide_values_are_means_over_tiles_and_niches_add_up_to_them() -> None:
    he = queries(5, 200)
    found = analyse(ATLAS, Tiles(he, *lay_out(200), 0.128), BEFORE, AFTER, Search(neighbours=20), keys=["stage"])
    assert np.allclose(found.changes.difference, (found.after - found.before).mean(axis=0))
    assert np.allclose(found.changes.after - found.changes.before, found.changes.difference)
    sizes = np.bincount(found.niches.labels)
    joined = sum(n * part.difference for n, part in zip(sizes, found.niche_changes, strict=True)) / sizes.sum()
    assert np.allclose(joined, found.changes.difference)
    assert [part.name for part in found.compositions] == ["organ", "panel", "patient", "edited fields"]
    assert found.compositions[3].labels == ("I", "II", "IV")


def test_intervals_hold_the_mean_of_the_blocks_tiles() -> None:
    he = queries(5, 400)
    found = analyse(ATLAS, Tiles(he, *lay_out(400), 0.128), BEFORE, AFTER, Search(neighbours=20))
    inside = found.blocks.labels >= 0
    own = (found.after - found.before)[inside].mean(axis=0)
    assert ((found.changes.low <= own) & (own <= found.changes.high)).all()
    assert (found.changes.blocks == found.blocks.count).all()


def test_an_edit_drawn_at_random_lies_in_the_middle_of_the_random_ones() -> None:
    texts = queries(9, 60)
    he = queries(5, 100)
    ranks = [
        analyse(
            ATLAS, Tiles(he, *lay_out(100), 0.128), BEFORE, own, Search(neighbours=20), random_texts=texts[20:]
        ).null.overall_p
        for own in texts[:10]
    ]
    assert 0.2 < float(np.mean(ranks)) < 0.8 and min(ranks) >= 1 / 41


def test_a_far_larger_edit_than_any_random_one_stands_out() -> None:
    near = unit(BEFORE[None] + 0.02 * np.random.default_rng(0).normal(size=(39, DIMENSION)))
    he = queries(5, 100)
    found = analyse(ATLAS, Tiles(he, *lay_out(100), 0.128), BEFORE, -BEFORE, Search(neighbours=20), random_texts=near)
    assert found.null.overall_p == pytest.approx(1 / 40)


def test_a_random_edit_that_does_not_know_a_marker_says_nothing_of_it() -> None:
    real = np.array([0.1, 0.1, np.nan, 0.1])
    drawn = np.array([[0.2, np.nan, 0.3, np.nan], [0.0, np.nan, 0.3, 0.2], [np.nan, np.nan, np.nan, np.nan]])
    null = NullDistribution(1, 10, real, drawn)
    assert null.p.tolist() == pytest.approx([2 / 3, np.nan, np.nan, 1.0], nan_ok=True)
    assert null.overall_p == pytest.approx(1.0)  # (0.2 against 0.1) and (0.1 against 0.1), each over what both know
    assert np.isnan(NullDistribution(1, 10, real, drawn[2:]).overall_p)
