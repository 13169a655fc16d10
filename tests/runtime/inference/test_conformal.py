"""Conformal intervals cover new patients as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.runtime.inference.conformal import least_patients, patient_quantile, patient_weights, tile_quantile


def test_patient_quantile_is_the_rank_that_the_theory_gives() -> None:
    scores = np.arange(1, 20, dtype=np.float64)  # 19 patients: ceil(0.9 * 20) = the 18th smallest
    assert patient_quantile(scores, 0.9) == 18


def test_too_few_patients_give_no_interval() -> None:
    assert patient_quantile(np.ones(8), 0.9) == np.inf
    assert tile_quantile(np.ones(80), np.repeat([f"p{i}" for i in range(8)], 10), 0.9) == np.inf


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.98])
def test_an_interval_takes_as_many_patients_as_are_said_to_be_needed(coverage: float) -> None:
    least = least_patients(coverage)
    for count in (least - 1, least):
        patients = np.array([f"p{i}" for i in range(count)])
        widths = patient_quantile(np.ones(count), coverage), tile_quantile(np.ones(count), patients, coverage)
        assert np.isfinite(widths).tolist() == [count == least] * 2


def test_errors_that_are_not_known_do_not_count_as_patients() -> None:
    scores = np.concatenate([np.ones(8), np.full(20, np.nan)])
    assert patient_quantile(scores, 0.9) == np.inf


def test_every_patient_weighs_the_same_however_many_tiles_it_has() -> None:
    patients = np.array(["a"] * 1 + ["b"] * 99)
    weights = patient_weights(patients)
    assert weights[patients == "a"].sum() == pytest.approx(0.5)
    assert weights.sum() == pytest.approx(1)


def test_a_patient_with_many_tiles_does_not_decide_the_tile_quantile() -> None:
    patients = np.array(["crowd"] * 1000 + [f"p{i}" for i in range(19)])
    scores = np.concatenate([np.full(1000, 100.0), np.arange(19, dtype=np.float64)])
    assert tile_quantile(scores, patients, 0.85) < 100


def test_intervals_cover_new_patients_where_tiles_of_a_patient_are_alike() -> None:
    rng = np.random.default_rng(3)
    covered_tiles, covered_patients, runs = 0.0, 0, 400
    for _ in range(runs):
        bias = rng.normal(size=40)
        errors = np.abs(bias[:, None] + 0.5 * rng.normal(size=(40, 16)))
        patients = np.repeat(np.arange(40).astype(str), 16)
        half = tile_quantile(errors.ravel(), patients, 0.9)
        new = np.abs(rng.normal() + 0.5 * rng.normal(size=16))
        covered_tiles += float((new <= half).mean()) / runs
        covered_patients += abs(rng.normal()) <= patient_quantile(np.abs(bias), 0.9)
    assert covered_tiles > 0.87
    assert covered_patients / runs > 0.86
