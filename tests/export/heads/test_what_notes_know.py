"""No model reads its own answer in the notes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort
from haiku_edge.export.heads import evaluate_survival, preset, train_slide_head, train_survival_head
from haiku_edge.runtime.errors import CohortError

from .small_cohort import alike_bags, cohort_of, survival_facts

PATIENTS = 24


@pytest.fixture(scope="module")
def cohort() -> EmbeddedCohort:
    rng = np.random.default_rng(0)
    facts = [{**own, "grade": str(1 + i % 2)} for i, own in enumerate(survival_facts(rng, np.zeros(PATIENTS)))]
    return cohort_of(alike_bags(rng, PATIENTS, 2, 8), facts, text=list(rng.normal(size=(PATIENTS, 8))))


def test_a_risk_is_not_learned_from_notes_that_tell_the_outcome(cohort: EmbeddedCohort) -> None:
    grids = {"ridge": preset("ridge")}
    knowing = replace(cohort, notes_keys=("grade", "vital_status"))
    settings = {"time": "survival", "event": "survival_status", "folds": 2}
    with pytest.raises(CohortError, match="vital_status"):
        evaluate_survival(knowing, grids=grids, features=("he+text",), **settings)
    with pytest.raises(CohortError, match="vital_status"):
        train_survival_head(knowing, name="os", features="he+text", grid=preset("ridge"), **settings)
    said: list[str] = []
    found = evaluate_survival(knowing, grids=grids, say=said.append, **settings)
    assert not any("text" in model.name for model in found.models)
    assert any("vital_status" in line for line in said)
    innocent = evaluate_survival(replace(cohort, notes_keys=("grade",)), grids=grids, features=("text",), **settings)
    assert any("text" in model.name for model in innocent.models)


def test_a_class_is_not_learned_from_notes_that_state_it(cohort: EmbeddedCohort) -> None:
    settings = {"name": "grade", "target": "grade", "features": "he+text", "grid": preset("ridge"), "folds": 2}
    for keys in (("grade",), None):
        with pytest.raises(CohortError, match="--hide grade"):
            train_slide_head(replace(cohort, notes_keys=keys), **settings)
    head = train_slide_head(replace(cohort, notes_keys=("stage",)), **settings)
    assert head.section.target == "grade"
