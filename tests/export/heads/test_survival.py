"""Cox heads find a hazard that is there, and are compared with clinical facts on the same patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from haiku_edge.export.heads import (
    MilSettings,
    RidgeSettings,
    evaluate_survival,
    render_survival,
    survival_figures,
)
from haiku_edge.export.heads.bags import make_bags
from haiku_edge.export.heads.clinical import PENALTY, clinical_risk, number_of
from haiku_edge.export.heads.concordance import concordance
from haiku_edge.export.heads.fit import fit_network, predict_bags
from haiku_edge.export.heads.survival import CLINICAL
from haiku_edge.export.heads.targets import read_survival
from haiku_edge.runtime.errors import CohortError, UsageError
from tests.export.heads.small_cohort import alike_bags, cohort_of, names, survival_facts

QUICK = {"mil": (MilSettings(width=8, learning_rate=2e-2, batch=200, epochs=25, patience=6, attention=16),)}


def test_risk_comes_near_the_true_hazard_and_fusing_beats_either_half() -> None:
    rng = np.random.default_rng(0)
    seen, told = rng.normal(size=(2, 120))
    bags = [0.3 * rng.normal(size=(4, 5)) + np.array([x, 0, 0, 0, 0]) for x in seen]
    text = [0.3 * rng.normal(size=3) + np.array([x, 0, 0]) for x in told]
    facts = survival_facts(rng, 1.2 * (seen + told))
    aged = [{**own, "age": f"{60 + 8 * x:.0f}"} for own, x in zip(facts, told, strict=True)]
    cohort = cohort_of(bags, aged, text=text)
    found = evaluate_survival(
        cohort, time="survival", event="survival_status", grids=QUICK, features=("he", "he+text"), folds=2
    )
    truth = concordance(seen + told, found.target)[0]
    clinical, alone, fused = found.models
    assert clinical.name == CLINICAL and found.clinical == ("age",)
    assert 0.6 < alone.scores.concordance.value < fused.scores.concordance.value <= truth + 0.02
    assert fused.scores.concordance.value > truth - 0.08
    assert fused.scores.against is not None
    assert fused.scores.against.value == pytest.approx(
        fused.scores.concordance.value - clinical.scores.concordance.value
    )
    assert all(area.value > 0.7 for area in fused.scores.auroc.values())
    assert fused.reads_notes and not alone.reads_notes
    written = str(survival_figures(found)) + render_survival(found)
    assert not any(name in written for name in names(120))


def test_survival_without_a_cause_stays_at_chance() -> None:
    rng = np.random.default_rng(1)
    cohort = cohort_of(alike_bags(rng, 60, 4, 6), survival_facts(rng, np.zeros(60)))
    found = evaluate_survival(
        cohort,
        time="survival",
        event="survival_status",
        grids={**QUICK, "ridge": (RidgeSettings(1.0),)},
        features=("he",),
        folds=2,
    )
    for model in found.models:
        assert abs(model.scores.concordance.value - 0.5) < 0.2  # three standard deviations of 60 patients
        assert model.scores.against is None  # no clinical facts, so nothing to compare with


def test_ridge_on_one_vector_a_patient_is_the_penalised_cox_model_of_lifelines() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 2))
    cohort = cohort_of([row[None] for row in x], survival_facts(rng, x[:, 0]))
    target = read_survival(cohort, "survival", "survival_status")
    bags = make_bags(cohort, "he", target.patients)
    own = predict_bags(fit_network(bags, target, RidgeSettings(0.01), 0).network, bags)[:, 0]
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    frame = pd.DataFrame(scaled, columns=["a", "b"]).assign(months=target.months, event=target.events)
    # lifelines divides the likelihood by all patients, the loss here by events.
    model = CoxPHFitter(penalizer=0.01 * target.events.mean()).fit(frame, "months", "event")
    theirs = scaled @ model.params_.to_numpy()
    np.testing.assert_allclose(own - own.mean(), theirs - theirs.mean(), atol=5e-3)


def test_clinical_model_is_that_of_lifelines_on_standardised_facts() -> None:
    rng = np.random.default_rng(3)
    age, stage = rng.normal(65, 9, size=90).round(), rng.integers(1, 5, size=90)
    facts = survival_facts(rng, 0.05 * (age - 65) + 0.5 * stage)
    told = [
        {"age": f"{a:.0f}", "stage": ("I", "IIB", "IIIA", "IV")[s - 1], **own}
        for a, s, own in zip(age, stage, facts, strict=True)
    ]
    cohort = cohort_of([np.zeros((1, 2))] * 90, told)
    target = read_survival(cohort, "survival", "survival_status")
    risk = clinical_risk(told, target, told, ("age", "stage"))
    x = np.stack([age, stage], axis=1).astype(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    frame = pd.DataFrame(x, columns=["a", "s"]).assign(months=target.months, event=target.events)
    model = CoxPHFitter(penalizer=PENALTY).fit(frame, "months", "event")
    np.testing.assert_allclose(risk, x @ model.params_.to_numpy(), atol=1e-6)


def test_stages_are_numbers_and_other_words_are_not() -> None:
    assert [number_of(value) for value in ("I", "Stage IIB", "iiia", "4", "2.5")] == [1, 2, 3, 4, 2.5]
    assert np.isnan([number_of(value) for value in ("male", "", "low")]).all()


def test_clinical_model_takes_words_numbers_and_gaps() -> None:
    rng = np.random.default_rng(4)
    facts = survival_facts(rng, rng.normal(size=40))
    told = [
        {**own, "sex": ("male", "female", "")[i % 3], "age": "" if i % 7 == 0 else str(50 + i)}
        for i, own in enumerate(facts)
    ]
    target = read_survival(cohort_of([np.zeros((1, 2))] * 40, told), "survival", "survival_status")
    assert np.isfinite(clinical_risk(told, target, [*told, {}, {"sex": "unheard"}], ("sex", "age"))).all()
    with pytest.raises(CohortError, match="same for all"):
        clinical_risk([{"sex": "male"}] * 40, target, [], ("sex",))


def test_times_come_in_days_months_and_years() -> None:
    values = ["12", "12 months", "1 year", "365.25 days", "unknown", "1.5 years"]
    facts = [{"os": value, "died": "1"} for value in values]
    target = read_survival(cohort_of([np.zeros((1, 1))] * 6, facts), "os", "died")
    np.testing.assert_allclose(target.months, [12, 12, 12, 12, 18])
    assert target.left_out == 1


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([{"t": "5", "e": "alive"}] * 20, "had the event"),
        ([{"t": "5", "e": "dead"}], "one patient"),
        ([{"t": str(i + 1), "e": "dead" if i < 2 else "alive"} for i in range(30)], "2 events"),
        ([{"t": "soon", "e": "dead"}] * 20, "is no time"),
        ([{"t": "-3", "e": "dead"}] * 20, "is no time"),
        ([{"t": "3", "e": "perhaps"}] * 20, "neither that the event happened"),
        ([{"t": "3"}] * 20, "No patient of the cohort has the fact 'e'"),
    ],
)
def test_cohorts_without_a_question_are_refused(facts: list[dict[str, str]], said: str) -> None:
    cohort = cohort_of([np.zeros((1, 2))] * len(facts), facts)
    with pytest.raises(CohortError, match=said):
        evaluate_survival(cohort, time="t", event="e", grids=QUICK, features=("he",))


def test_no_model_may_read_the_outcome() -> None:
    rng = np.random.default_rng(5)
    cohort = cohort_of(alike_bags(rng, 20, 1, 2), survival_facts(rng, np.zeros(20)))
    with pytest.raises(UsageError, match="outcome"):
        evaluate_survival(cohort, time="survival", event="survival_status", grids=QUICK, features=("he+caption",))
    with pytest.raises(UsageError, match="outcome itself"):
        evaluate_survival(cohort, time="survival", event="survival_status", grids=QUICK, clinical=("survival_status",))
