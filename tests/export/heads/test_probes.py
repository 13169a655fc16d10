"""Probes are measured on patients that they have not seen."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.export.heads import evaluate_probes, probe_figures, render_probes
from haiku_edge.export.heads.folds import fold_numbers
from haiku_edge.runtime.errors import CohortError, UsageError
from tests.export.heads.small_cohort import alike_bags, cohort_of, names


def test_folds_over_patches_flatter_and_folds_over_patients_do_not() -> None:
    rng = np.random.default_rng(0)
    facts = [{"grade": str(i % 2)} for i in range(40)]
    found = evaluate_probes(cohort_of(alike_bags(rng, 40, 4, 60), facts), target="grade", leaking=True)
    (model,) = found.models
    # The labels have nothing to do with the vectors: whatever is found was leaked.
    assert model.leaking is not None and model.leaking.auroc.value > 0.95
    assert model.patients.auroc.low < 0.5 < model.patients.auroc.high
    assert model.patches.auroc.low < 0.5 < model.patches.auroc.high
    assert "flattery" in render_probes(found)


def test_probe_finds_what_lies_open_and_fusing_adds_what_the_other_modality_knows() -> None:
    rng = np.random.default_rng(1)
    codes = np.arange(60) % 4
    bags = [bag + 2.0 * (code % 2) for bag, code in zip(alike_bags(rng, 60, 3, 4), codes, strict=True)]
    text = [rng.normal(size=4) + 2.0 * (code // 2) for code in codes]
    cohort = cohort_of(bags, [{"kind": f"k{code}"} for code in codes], text=text)
    found = {
        m.name: m for m in evaluate_probes(cohort, target="kind", features=("he", "text", "he+text"), folds=3).models
    }
    fused = found["he+text"].patients.balanced_accuracy.value
    assert fused > 0.8
    assert max(found[name].patients.balanced_accuracy.value for name in ("he", "text")) < fused - 0.2
    assert [found[name].reads_notes for name in ("he", "text", "he+text")] == [False, True, True]


def test_same_seed_gives_the_same_figures_and_no_patient_is_named() -> None:
    rng = np.random.default_rng(2)
    cohort = cohort_of(alike_bags(rng, 20, 2, 4), [{"grade": str(i % 2)} for i in range(20)])
    first, second = (str(probe_figures(evaluate_probes(cohort, target="grade", folds=2))) for _ in range(2))
    assert first == second
    assert not any(name in first for name in names(20))


def test_one_patch_a_patient_is_enough() -> None:
    rng = np.random.default_rng(3)
    codes = np.arange(24) % 2
    bags = [rng.normal(size=(1, 3)) + 3 * code for code in codes]
    found = evaluate_probes(cohort_of(bags, [{"mmr": "p" if code else "d"} for code in codes]), target="mmr")
    assert found.models[0].patients == found.models[0].patches
    assert found.models[0].patients.auroc.value > 0.9


def test_named_classes_join_values_and_leave_the_others_out() -> None:
    rng = np.random.default_rng(4)
    facts = [{"stage": ("I", "II", "III", "IV", "X")[i % 5]} for i in range(30)]
    cohort = cohort_of(alike_bags(rng, 30, 1, 3), facts)
    found = evaluate_probes(cohort, target="stage", classes=("I|II", "III|IV"))
    assert found.target.classes == ("III|IV", "I|II")
    assert (len(found.target), found.target.left_out) == (24, 6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a"] * 12, "same 'grade'"),
        (["a"], "the same"),
        (["a"] * 10 + ["b"] * 2, "'b' (2)"),
        (["a"] * 10 + [""] * 2, "the same"),
    ],
)
def test_cohorts_in_which_there_is_nothing_to_tell_apart_are_refused(values: list[str], said: str) -> None:
    bags = alike_bags(np.random.default_rng(5), len(values), 2, 3)
    with pytest.raises(CohortError) as refused:
        evaluate_probes(cohort_of(bags, [{"grade": value} for value in values]), target="grade")
    assert said.replace("same 'grade'", "the same") in str(refused.value)


def test_a_fact_or_a_feature_that_is_not_there_is_named_with_those_that_are() -> None:
    cohort = cohort_of(alike_bags(np.random.default_rng(6), 8, 1, 3), [{"grade": str(i % 2)} for i in range(8)])
    with pytest.raises(CohortError, match="grade"):
        evaluate_probes(cohort, target="tumor_grade")
    with pytest.raises(CohortError, match="only he"):
        evaluate_probes(cohort, target="grade", features=("mif",), folds=2)
    with pytest.raises(UsageError, match="names no features"):
        evaluate_probes(cohort, target="grade", features=("he+he",), folds=2)
    with pytest.raises(CohortError, match="No patient has 'grade' '7'"):
        evaluate_probes(cohort, target="grade", classes=("0", "7"), folds=2)


def test_folds_hold_their_share_of_every_class() -> None:
    strata = np.array([0] * 40 + [1] * 10)
    numbers = fold_numbers(strata, 5, seed=3)
    for fold in range(5):
        assert np.bincount(strata[numbers == fold]).tolist() == [8, 2]
    assert (numbers == fold_numbers(strata, 5, seed=3)).all()
    assert (numbers != fold_numbers(strata, 5, seed=4)).any()
