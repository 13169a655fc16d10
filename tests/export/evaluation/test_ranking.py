"""Ranking figures against scikit-learn, against plain loops, and against orders drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from haiku_edge.export.evaluation.ranking import BARRED, CUTS, QueryScores, score_chance, score_lists, score_partners

FIGURES = ("recall", "precision", "f1", "ndcg", "ap", "reciprocal", "rank")


def _lists(seed: int, queries: int = 12, entries: int = 300, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(queries, entries)).astype(np.float32), rng.random((queries, entries)) < share


def _by_hand(scores: np.ndarray, relevant: np.ndarray, k: int) -> dict[str, float]:
    """One query, one list, one cut, in plain Python."""
    order = sorted(range(len(scores)), key=lambda j: -scores[j])
    hits = [bool(relevant[j]) for j in order]
    total, found = sum(hits), sum(hits[:k])
    precision, recall = found / k, found / total
    gains = sum(1 / np.log2(i + 2) for i in range(k) if i < len(hits) and hits[i])
    ideal = sum(1 / np.log2(i + 2) for i in range(min(k, total)))
    average = sum(sum(hits[: i + 1]) / (i + 1) for i in range(min(k, len(hits))) if hits[i]) / min(k, total)
    return {
        "recall": recall,
        "precision": precision,
        "f1": 2 * precision * recall / (precision + recall) if found else 0.0,
        "ndcg": gains / ideal,
        "ap": average,
        "reciprocal": 1 / (1 + hits.index(True)),
        "rank": 1.0 + hits.index(True),
    }


def _mean(found: QueryScores, name: str, column: int) -> float:
    values = getattr(found, name)
    return float(np.nanmean(values[:, column] if values.ndim == 2 else values))


def test_ndcg_is_that_of_scikit_learn_with_and_without_ties() -> None:
    scores, relevant = _lists(0)
    for values in (scores, np.round(scores).astype(np.float32)):
        found = score_lists(values, relevant)
        for column, k in enumerate(CUTS):
            assert _mean(found, "ndcg", column) == pytest.approx(ndcg_score(relevant, values, k=k))


def test_average_precision_of_the_whole_list_is_that_of_scikit_learn() -> None:
    scores, relevant = _lists(1, entries=60)
    found = score_lists(scores, relevant, (5, 60))
    for row in range(len(scores)):
        assert found.ap[row, 1] == pytest.approx(average_precision_score(relevant[row], scores[row]))


def test_every_figure_is_what_counting_by_hand_gives() -> None:
    scores, relevant = _lists(2)
    found = score_lists(scores, relevant)
    for row in range(len(scores)):
        for column, k in enumerate(CUTS):
            for name, value in _by_hand(scores[row], relevant[row], k).items():
                own = getattr(found, name)[row]
                assert (own[column] if np.ndim(own) else own) == pytest.approx(value)


@pytest.mark.parametrize("entries", [30, 260])
def test_ties_count_as_the_mean_over_random_orders(entries: int) -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 4, size=(5, entries)).astype(np.float32)
    relevant = rng.random((5, entries)) < 0.15
    found = score_lists(scores, relevant, (1, 5, 10))
    shuffled = [
        score_lists(scores + 0.5 * rng.random(scores.shape, np.float32), relevant, (1, 5, 10)) for _ in range(3000)
    ]
    for name in FIGURES:
        drawn = np.stack([getattr(one, name) for one in shuffled])
        error = drawn.std(axis=0) / np.sqrt(len(drawn))
        assert (np.abs(drawn.mean(axis=0) - getattr(found, name)) <= 4.5 * error + 1e-9).all(), name


def test_one_big_tie_is_chance() -> None:
    relevant = np.zeros((1, 400), bool)
    relevant[0, :7] = True
    tied = score_lists(np.full((1, 400), 0.3, np.float32), relevant)
    chance = score_chance(np.array([7]), np.array([400]))
    for name in FIGURES:
        np.testing.assert_allclose(getattr(tied, name), getattr(chance, name))
    assert tied.recall[0, CUTS.index(20)] == pytest.approx(20 / 400)
    assert tied.rank[0] == pytest.approx(401 / 8)


def test_barred_entries_are_as_good_as_gone() -> None:
    scores, relevant = _lists(4, entries=90)
    barred = np.random.default_rng(5).random(90) < 0.4
    found = score_lists(np.where(barred, BARRED, scores), relevant & ~barred)
    alone = score_lists(scores[:, ~barred], relevant[:, ~barred])
    for name in FIGURES:
        np.testing.assert_allclose(getattr(found, name), getattr(alone, name))


def test_query_with_nothing_to_find_has_no_figures() -> None:
    found = score_lists(np.zeros((1, 20), np.float32), np.zeros((1, 20), bool))
    assert all(np.isnan(getattr(found, name)).all() for name in FIGURES)


def test_partners_score_as_lists_with_one_relevant_entry() -> None:
    rng = np.random.default_rng(6)
    for scores in (rng.normal(size=(40, 250)), rng.integers(0, 5, size=(40, 250))):
        values = scores.astype(np.float32)
        partners = rng.integers(0, 250, 40)
        relevant = np.arange(250) == partners[:, None]
        found, want = score_partners(values, partners), score_lists(values, relevant)
        for name in FIGURES:
            np.testing.assert_allclose(getattr(found, name), getattr(want, name))
