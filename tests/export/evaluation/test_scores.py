"""Scores that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.export.evaluation import recall_at, score_retrieval
from haiku_edge.export.evaluation.biomarkers import pearson


def _unit(rng: np.random.Generator, count: int, dimension: int = 8) -> np.ndarray:
    vectors = rng.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_recall_counts_partners_among_the_first_k() -> None:
    rng = np.random.default_rng(0)
    query, gallery = _unit(rng, 40), _unit(rng, 40)
    order = np.argsort(-(query @ gallery.T), axis=1)
    for k in (1, 5, 10):
        want = np.mean([i in order[i, :k] for i in range(40)])
        assert recall_at(query, gallery, k) == pytest.approx(want)


def test_recall_of_equal_texts_is_what_chance_would_give() -> None:
    vectors = np.repeat(_unit(np.random.default_rng(1), 5), 4, axis=0)
    assert recall_at(vectors, vectors, 1) == pytest.approx(1 / 4)
    assert recall_at(vectors, vectors, 4) == pytest.approx(1)


def test_recall_of_random_vectors_is_chance() -> None:
    rng = np.random.default_rng(2)
    scores = score_retrieval({name: _unit(rng, 2000, 32) for name in ("he", "mif", "text")})
    assert len(scores) == 6
    for score in scores:
        assert score.recall[50] == pytest.approx(score.chance[50], abs=0.02)


def test_pearson_ignores_what_was_not_measured() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=30)
    b = a + rng.normal(size=30)
    b[::3] = np.nan
    known = np.isfinite(b)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a[known], b[known])[0, 1])
    assert np.isnan(pearson(a, np.ones(30)))
