"""Fused retrieval ranks as the published formula says, and never shows what it may not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.inference import fuse, infer_expression, patients_allowed, retrieve
from tests.runtime.inference.small_atlas import small_atlas, unit


def _case(seed: int, patches: int = 60, markers: int = 4):
    rng = np.random.default_rng(seed)
    expression = rng.uniform(0, 255, (patches, markers))
    expression[rng.random((patches, markers)) < 0.3] = np.nan
    atlas = small_atlas(rng.normal(size=(patches, 8)), expression, [f"p{i % 7}" for i in range(patches)])
    return atlas, unit(rng.normal(size=(12, 8))), unit(rng.normal(size=8))


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_one_inner_product_is_the_weighted_sum_of_two_cosines(seed: int, weight: float) -> None:
    atlas, he, text = _case(seed)
    fused = fuse(he, text, weight) @ atlas.vectors.T
    published = (1 - weight) * (he @ atlas.vectors.T) + weight * (atlas.vectors @ text)[None]
    assert np.allclose(fused, published, atol=1e-5)


def test_neighbours_are_those_of_the_published_procedure() -> None:
    atlas, he, text = _case(1)
    found = retrieve(atlas, he, text, text_weight=0.2, neighbours=5)
    scores = 0.8 * he @ atlas.vectors.T + 0.2 * (atlas.vectors @ text)[None]
    best = np.argsort(-scores, axis=1)[:, :5]
    assert np.array_equal(found.ids, best)
    top = np.take_along_axis(scores, best, 1)
    assert np.allclose(found.weights, np.exp(top) / np.exp(top).sum(1, keepdims=True), atol=1e-6)
    assert np.allclose(found.he_similarity, np.take_along_axis(he @ atlas.vectors.T, best, 1), atol=1e-6)


@given(st.integers(0, 10_000), st.sets(st.integers(0, 6), min_size=1, max_size=6))
def test_an_excluded_patient_is_never_evidence(seed: int, excluded: set[int]) -> None:
    atlas, he, text = _case(seed)
    names = tuple(f"p{i}" for i in excluded)
    found = retrieve(atlas, he, text, text_weight=0.2, neighbours=5, allowed=patients_allowed(atlas, names))
    assert not set(atlas.patients[found.ids[found.ids >= 0]]) & set(names)


def test_fewer_patches_than_neighbours_leave_the_rest_empty() -> None:
    atlas, he, _ = _case(2, patches=3)
    found = retrieve(atlas, he, None, text_weight=0.2, neighbours=5)
    assert (found.ids[:, 3:] == -1).all()
    assert (found.weights[:, 3:] == 0).all()
    assert np.allclose(found.weights.sum(axis=1), 1)
    assert np.isfinite(infer_expression(atlas, found).value[:, atlas.std > 0]).any()


def test_weights_are_renormalised_over_the_neighbours_that_measured_the_marker() -> None:
    vectors = np.eye(3)
    expression = np.array([[10.0, 1.0], [20.0, np.nan], [30.0, 3.0]])
    atlas = small_atlas(vectors, expression)
    query = unit(np.array([[0.9, 0.8, 0.3]]))
    found = retrieve(atlas, query, None, text_weight=0, neighbours=3)
    weight = {int(i): float(w) for i, w in zip(found.ids[0], found.weights[0], strict=True)}
    inferred = infer_expression(atlas, found)
    by_hand = (weight[0] * atlas.z[0, 1] + weight[2] * atlas.z[2, 1]) / (weight[0] + weight[2])
    assert inferred.value[0, 1] == pytest.approx(by_hand, abs=1e-6)
    assert inferred.measured[0, 1] == pytest.approx(2 / 3)
    assert inferred.measured[0, 0] == 1


def test_a_marker_that_no_neighbour_measured_has_no_value() -> None:
    expression = np.array([[10.0, np.nan], [20.0, np.nan], [30.0, 5.0], [40.0, 6.0]])
    atlas = small_atlas(np.array([[1, 0, 0], [0.9, 0.1, 0], [-1, 0, 0.1], [-1, 0.1, 0]]), expression)
    found = retrieve(atlas, unit(np.array([[1.0, 0, 0]])), None, text_weight=0, neighbours=2)
    inferred = infer_expression(atlas, found)
    assert np.isnan(inferred.value[0, 1])
    assert np.isnan(inferred.spread[0, 1])
    assert inferred.measured[0, 1] == 0


def test_neighbours_that_agree_have_no_spread() -> None:
    atlas = small_atlas(np.eye(4), np.array([[5.0], [5.0], [5.0], [50.0]]))
    found = retrieve(atlas, unit(np.array([[1.0, 1, 1, 0]])), None, text_weight=0, neighbours=3)
    assert infer_expression(atlas, found).spread[0, 0] == pytest.approx(0, abs=1e-6)


def test_the_order_of_tiles_does_not_change_their_values() -> None:
    atlas, he, text = _case(5)
    order = np.random.default_rng(0).permutation(len(he))
    straight = infer_expression(atlas, retrieve(atlas, he, text, text_weight=0.2, neighbours=5)).value
    shuffled = infer_expression(atlas, retrieve(atlas, he[order], text, text_weight=0.2, neighbours=5)).value
    assert np.array_equal(straight[order], shuffled, equal_nan=True)


def test_an_atlas_without_a_patient_left_is_refused() -> None:
    atlas, _, _ = _case(6)
    with pytest.raises(UsageError, match="no patient"):
        patients_allowed(atlas, tuple(f"p{i}" for i in range(7)))
