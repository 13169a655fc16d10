"""kNN and zero-shot classification against scikit-learn and against cases whose answer is known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier

from haiku_edge.export.evaluation.bootstrap import draw_patients
from haiku_edge.export.evaluation.classification import score_classes
from haiku_edge.export.evaluation.knn import score_knn, vote
from haiku_edge.export.evaluation.labels import class_templates, cohort_labels, usual_labels
from haiku_edge.export.evaluation.zero_shot import score_zero_shot
from haiku_edge.runtime.errors import CohortError, UsageError
from tests.export.evaluation.small_cohort import small_cohort, unit


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true, said = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    resamples = draw_patients(np.repeat([f"P{i}" for i in range(10)], 6), rounds=30)
    score = score_classes(true, said, 3, resamples)
    assert score.accuracy.value == pytest.approx(accuracy_score(true, said))
    assert score.balanced.value == pytest.approx(balanced_accuracy_score(true, said))
    assert score.f1.value == pytest.approx(f1_score(true, said, average="macro"))
    copies = [np.repeat(np.arange(60), own.astype(int)[resamples.groups]) for own in resamples.weights]
    drawn = [accuracy_score(true[rows], said[rows]) for rows in copies]
    assert (score.accuracy.low, score.accuracy.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_patches_without_a_class_do_not_count_and_no_answer_is_wrong() -> None:
    resamples = draw_patients(np.array(["A", "A", "B", "B"]), rounds=5)
    score = score_classes(np.array([0, 1, -1, 0]), np.array([0, -1, 0, 0]), 2, resamples)
    assert score.patches == 3
    assert score.accuracy.value == pytest.approx(2 / 3)


def test_vote_without_the_patient_is_that_of_scikit_learn() -> None:
    cohort = small_cohort(patients=8)
    true = np.array([int(patient[1:]) % 2 for patient in cohort.patients])
    voted = vote(cohort, "mif", true, 2, "patient")
    vectors = cohort.vectors["mif"]
    for k in (1, 5, 10):
        for patient in np.unique(cohort.patients):
            own = cohort.patients == patient
            # Distances of unit vectors give the cosines back: |a − b|² = 2 − 2 cos.
            peer = KNeighborsClassifier(k, algorithm="brute", weights=lambda d: np.maximum(1 - d**2 / 2, 1e-6))
            want = peer.fit(vectors[~own], true[~own]).predict(vectors[own])
            np.testing.assert_array_equal(voted[k][own], want)


def test_the_vote_does_not_depend_on_the_block_and_its_memory_not_on_the_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohort = small_cohort(patients=12)
    true = np.arange(len(cohort)) % 4
    whole = vote(cohort, "mif", true, 4, "patient")
    monkeypatch.setattr("haiku_edge.runtime.inference.blocks.NUMBERS_AT_ONCE", 1)
    tracemalloc.start()
    try:
        alone = vote(cohort, "mif", true, 20_000, "patient")
        assert tracemalloc.get_traced_memory()[1] < 3 * 8 * 50 * 20_000
    finally:
        tracemalloc.stop()
    for k, predicted in whole.items():
        np.testing.assert_array_equal(alone[k], predicted)


def test_own_patches_make_the_published_vote_look_good() -> None:
    """Every patient has a place of their own and a label by chance: only the own patches know it."""
    rng = np.random.default_rng(2)
    cohort = small_cohort(patients=20, regions=1)
    places = np.repeat(unit(rng, 20, 32), 4, axis=0) + 0.02 * rng.normal(size=(80, 32))
    places = (places / np.linalg.norm(places, axis=1, keepdims=True)).astype(np.float32)
    facts = {patient: {"grade": str(rng.integers(1, 3))} for patient in cohort.facts}
    result = score_knn(replace(cohort, vectors={"mif": places}, facts=facts), "grade")
    first = {score.leave: score.score.accuracy.value for score in result.scores if score.neighbours == 1}
    assert first["patch"] == 1.0
    assert first["patient"] < 0.8


def test_class_of_one_patient_is_left_out_and_told() -> None:
    cohort = small_cohort(patients=5)
    facts = {p: {"grade": "9" if p == "P0" else str(1 + int(p[1:]) % 2)} for p in cohort.facts}
    result = score_knn(replace(cohort, facts=facts), "grade")
    assert (result.classes, result.dropped, result.patients) == (("1", "2"), 1, 4)


def test_right_sentence_wins() -> None:
    cohort = small_cohort(patients=6)
    rng = np.random.default_rng(3)
    axes = {"Lung Cancer": unit(rng, 1)[0], "Breast Cancer": unit(rng, 1)[0]}
    labels = cohort_labels(cohort, "disease")
    cohort = replace(cohort, vectors={"mif": np.stack([axes[name] for name in labels])})

    def embed(sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([next(axis for name, axis in axes.items() if name in text) for text in sentences])

    result = score_zero_shot(cohort, "disease", embed)
    assert result.classes == ("Breast Cancer", "Lung Cancer")
    (score,) = result.scores
    assert len(score.templates) == 5 and score.mean("accuracy") == 1.0 and score.deviation("accuracy") == 0.0
    crossed = score_zero_shot(cohort, "disease", lambda sentences: embed(sentences)[::-1])
    assert crossed.scores[0].mean("accuracy") == 0.0


def test_mean_and_deviation_run_over_the_templates_and_are_no_ensemble() -> None:
    cohort = small_cohort(patients=6)
    asked: list[str] = []

    def embed(sentences: Sequence[str]) -> NDArray[np.float32]:
        asked.extend(sentences)
        return unit(np.random.default_rng(len(asked)), len(sentences))

    result = score_zero_shot(cohort, "disease", embed)
    assert asked[:2] == ["A codex region of Breast Cancer disease.", "A codex region of Lung Cancer disease."]
    assert asked[2:4] == ["Breast Cancer", "Lung Cancer"]
    assert "disease: Breast Cancer" in asked[10]
    values = [score.accuracy.value for score in result.scores[0].templates]
    assert result.scores[0].mean("accuracy") == pytest.approx(np.mean(values))
    assert result.scores[0].deviation("accuracy") == pytest.approx(np.std(values, ddof=1))


def test_synonyms_are_one_class_and_unknown_labels_none() -> None:
    cohort = small_cohort(patients=3)
    names = ("TNBC", "breast disease", "something else")
    facts = {p: {"disease": name} for p, name in zip(cohort.facts, names, strict=True)}
    found = cohort_labels(replace(cohort, facts=facts), "disease")
    assert set(found.tolist()) == {"Breast Cancer", ""}
    assert usual_labels(cohort).keys() == {"disease"}
    assert class_templates("grade")[1] == "grade {}"


def test_questions_without_an_answer_are_refused() -> None:
    cohort = small_cohort(patients=4)
    with pytest.raises(CohortError, match="Nobody"):
        score_knn(cohort, "eye_colour")
    alike = replace(cohort, facts={p: {"grade": "2"} for p in cohort.facts})
    with pytest.raises(CohortError, match="1 of the two"):
        score_knn(alike, "grade")
    with pytest.raises(UsageError, match="dimensions"):
        score_zero_shot(cohort, "disease", lambda sentences: unit(np.random.default_rng(0), len(sentences), 3))
