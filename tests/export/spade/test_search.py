"""What an atlas of spots searches is chosen as it will be used: by other patients, among all of its spots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haiku_edge.export.evaluation.spade import SPADE, SpotCohort
from haiku_edge.export.evaluation.spade.retrieval import NEIGHBOURS
from haiku_edge.export.spade import search
from haiku_edge.export.spade.search import COUNTS, choose_search
from haiku_edge.runtime.bundle import KnownPatients, patient_digest
from tests.export.evaluation.spade.planted_spots import planted_spots


def dense_spots(patients: int = 4, spots: int = 400) -> SpotCohort:
    """Pictures on a circle; expression follows the angle closely, and is noisy, so that several neighbours help."""
    rng, whole = np.random.default_rng(3), planted_spots(patients=patients, sections=1, spots=spots, genes=2)
    angle = rng.uniform(0, 2 * np.pi, len(whole))
    shown = np.stack([np.cos(6 * angle), np.sin(6 * angle)], axis=1) + 0.5 * rng.normal(size=(len(whole), 2))
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    noise = rng.normal(size=(len(whole), 2)).astype(np.float32)
    return replace(whole, vectors={SPADE: vectors}, keys={SPADE: noise}, expression=shown.astype(np.float32))


def test_the_whole_atlas_answers_where_few_spots_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = dense_spots()
    all_asked = choose_search(cohort)
    monkeypatch.setattr(search, "MOST_ASKED", 160)
    few_asked = choose_search(cohort)
    thinned = choose_search(cohort.select(np.sort(np.random.default_rng(0).choice(len(cohort), 160, replace=False))))
    assert (few_asked.keys, few_asked.neighbours) == (all_asked.keys, all_asked.neighbours)
    for count in COUNTS:
        assert few_asked.scores["image"][count] == pytest.approx(all_asked.scores["image"][count], abs=0.06)
    assert thinned.scores["image"][20] < all_asked.scores["image"][20] - 0.2


def test_a_score_is_the_correlation_with_the_nearest_spots_of_other_patients() -> None:
    cohort = dense_spots(patients=3, spots=60)
    near = cohort.vectors[SPADE] @ cohort.vectors[SPADE].T
    near[cohort.patients[:, None] == cohort.patients[None]] = -2
    order = np.argsort(-near, axis=1)[:, :10]
    weights = np.exp(np.take_along_axis(near, order, 1))
    predicted = np.einsum("qk,qkg->qg", weights / weights.sum(1, keepdims=True), cohort.expression[order])
    expected = np.mean([np.corrcoef(predicted[:, g], cohort.expression[:, g])[0, 1] for g in range(2)])
    assert choose_search(cohort, "image").scores["image"][10] == pytest.approx(expected, abs=1e-5)


def test_patients_whom_the_experts_know_choose_nothing() -> None:
    """Their expression would look perfect: experts reproduce what they learned from."""
    cohort = dense_spots(patients=4, spots=30)
    cohort = replace(cohort, keys={SPADE: cohort.vectors[SPADE]}, vectors={SPADE: cohort.keys[SPADE]})
    patients = np.unique(cohort.patients).tolist()
    known = KnownPatients(train=tuple(sorted(map(patient_digest, patients[:3]))))
    chosen = choose_search(cohort, known=known)
    assert (chosen.keys, chosen.neighbours, chosen.scores) == ("image", NEIGHBOURS, {})
    assert chosen.remark is not None and "all but 1 of the 4 patients" in chosen.remark
    assert choose_search(cohort, "expression", known=known).keys == "expression"
    some = choose_search(cohort, known=KnownPatients(train=known.train[:1]))
    assert some.scores and some.remark is None
