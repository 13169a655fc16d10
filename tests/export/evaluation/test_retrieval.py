"""Retrieval on cohorts whose answer can be worked out in another way."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.export.evaluation import recall_at, score_retrieval
from haiku_edge.export.evaluation.index_agreement import compare_indexes
from haiku_edge.export.evaluation.retrieval import PAIR
from haiku_edge.runtime.errors import CohortError
from tests.export.evaluation.small_cohort import small_cohort, unit


def test_recall_counts_partners_among_the_first_k() -> None:
    rng = np.random.default_rng(0)
    query, gallery = unit(rng, 40), unit(rng, 40)
    order = np.argsort(-(query @ gallery.T), axis=1)
    patients = np.repeat([f"P{i}" for i in range(8)], 5)
    score = next(s for s in score_retrieval({"he": query, "mif": gallery}, patients) if s.query == "he")
    for k in (1, 5, 10):
        want = np.mean([i in order[i, :k] for i in range(40)])
        assert recall_at(query, gallery, k) == pytest.approx(want)
        assert score.recall[k] == pytest.approx(want)
        assert score.at["recall"][k].low <= want <= score.at["recall"][k].high
    ranks = [1 + list(order[i]).index(i) for i in range(40)]
    assert score.mean_rank.value == pytest.approx(np.mean(ranks))
    assert score.median_rank == pytest.approx(np.median(ranks))
    assert score.mrr.value == pytest.approx(np.mean(1 / np.array(ranks)))


def test_recall_of_equal_texts_is_what_chance_would_give() -> None:
    vectors = np.repeat(unit(np.random.default_rng(1), 5), 4, axis=0)
    assert recall_at(vectors, vectors, 1) == pytest.approx(1 / 4)
    assert recall_at(vectors, vectors, 4) == pytest.approx(1)
    patients = np.repeat([f"P{i}" for i in range(5)], 4)
    score = score_retrieval({"text": vectors, "mif": vectors}, patients)[0]
    assert score.recall[1] == pytest.approx(1 / 4)
    assert score.mean_rank.value == pytest.approx(2.5)
    assert score.mrr.value == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_random_vectors_score_as_chance() -> None:
    rng = np.random.default_rng(2)
    patients = np.repeat([f"P{i}" for i in range(100)], 12)
    labels = {"disease": np.repeat(rng.choice(["A", "B", "C"], 100), 12)}
    scores = score_retrieval({name: unit(rng, 1200, 32) for name in ("he", "mif")}, patients, labels, rounds=50)
    assert {(s.query, s.match) for s in scores} == {(q, m) for q in ("he", "mif") for m in (PAIR, "disease")}
    for score in scores:
        for name, values in score.at.items():
            for k, value in values.items():
                assert value.value == pytest.approx(score.chance[name][k], abs=0.04), (score.match, name, k)
        assert score.mrr.value == pytest.approx(score.chance_mrr, abs=0.04)
        assert score.mean_rank.value == pytest.approx(score.chance_rank, rel=0.1)


def test_own_patient_is_never_the_answer_to_a_label_unless_asked_for() -> None:
    cohort = small_cohort(patients=5)
    alike = {"mif": cohort.vectors["text"], "he": cohort.vectors["text"]}
    labels = {"own": cohort.patients}
    honest = [s for s in score_retrieval(alike, cohort.patients, labels) if s.match == "own"]
    published = [s for s in score_retrieval(alike, cohort.patients, labels, published=True) if s.match == "own"]
    assert {s.queries for s in honest} == {0}
    assert all(s.at["precision"][5].value == pytest.approx(1.0) for s in published)


def test_label_retrieval_is_what_loops_find() -> None:
    cohort = small_cohort()
    labels = cohort.labels("disease")
    he, mif = cohort.vectors["he"], cohort.vectors["mif"]
    score = next(
        s
        for s in score_retrieval({"he": he, "mif": mif}, cohort.patients, {"disease": labels})
        if (s.query, s.match) == ("he", "disease")
    )
    precision, recall = [], []
    for i in range(len(cohort)):
        others = [j for j in range(len(cohort)) if cohort.patients[j] != cohort.patients[i]]
        first = sorted(others, key=lambda j: -float(he[i] @ mif[j]))[:10]
        hits = sum(labels[j] == labels[i] for j in first)
        precision.append(hits / 10)
        recall.append(hits / sum(labels[j] == labels[i] for j in others))
    assert score.at["precision"][10].value == pytest.approx(np.mean(precision))
    assert score.at["recall"][10].value == pytest.approx(np.mean(recall))


def test_graph_finds_what_exact_search_finds() -> None:
    rng = np.random.default_rng(6)
    vectors = {"he": unit(rng, 600, 16), "mif": unit(rng, 600, 16)}
    for one in compare_indexes(vectors):
        assert min(one.found.values()) > 0.99
        own = recall_at(vectors[one.query], vectors[one.gallery], 5)
        assert one.exact[5] == pytest.approx(own)


def test_one_patient_is_refused() -> None:
    cohort = small_cohort(patients=1)
    with pytest.raises(CohortError, match="one patient"):
        score_retrieval(cohort.vectors, cohort.patients)
