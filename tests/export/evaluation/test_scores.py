"""Correlations and their intervals, against NumPy, SciPy and draws that are really copied out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from haiku_edge.export.evaluation.biomarkers import pearson
from haiku_edge.export.evaluation.bootstrap import draw_patients, estimate
from haiku_edge.export.evaluation.correlation import pearson_draws, spearman_draws


def test_pearson_ignores_what_was_not_measured() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=30)
    b = a + rng.normal(size=30)
    b[::3] = np.nan
    known = np.isfinite(b)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a[known], b[known])[0, 1])
    assert np.isnan(pearson(a, np.ones(30)))


def test_every_draw_is_the_correlation_of_the_copied_patches() -> None:
    rng = np.random.default_rng(4)
    patients = np.repeat([f"P{i}" for i in range(7)], 6)
    a = np.round(rng.normal(size=(42, 3)), 1)
    b = np.round(a + rng.normal(size=a.shape), 1)
    b[rng.random(b.shape) < 0.2] = np.nan
    resamples = draw_patients(patients, rounds=25)
    linear, ranked = pearson_draws(a, b, resamples), spearman_draws(a, b, resamples)
    weights = np.concatenate([np.ones((1, 7)), resamples.weights]).astype(int)
    for draw, own in enumerate(weights):
        copies = np.repeat(np.arange(42), own[resamples.groups])
        for m in range(3):
            x, y = a[copies, m], b[copies, m]
            known = np.isfinite(y)
            assert linear[draw, m] == pytest.approx(np.corrcoef(x[known], y[known])[0, 1])
            assert ranked[draw, m] == pytest.approx(spearmanr(x[known], y[known]).statistic)


def test_constant_column_has_no_correlation() -> None:
    resamples = draw_patients(np.repeat(["A", "B", "C"], 4), rounds=10)
    values = np.random.default_rng(5).normal(size=(12, 1))
    for flat in (np.full((12, 1), 0.1), np.full((12, 1), 1e6 + 0.1)):
        assert np.isnan(pearson_draws(flat, values, resamples)).all()
        assert np.isnan(spearman_draws(flat, values, resamples)).all()


def test_draw_without_the_only_patient_who_measured_has_no_correlation() -> None:
    rng = np.random.default_rng(7)
    patients = np.repeat(["A", "B", "C", "D"], 5)
    values = rng.normal(size=(20, 1))
    values[patients != "B"] = np.nan
    resamples = draw_patients(patients, rounds=40)
    absent = np.concatenate([[False], resamples.weights[:, 1] == 0])
    assert absent.any()
    for draws in (
        pearson_draws(values, rng.normal(size=(20, 1)), resamples),
        spearman_draws(values, values, resamples),
    ):
        np.testing.assert_array_equal(np.isnan(draws[:, 0]), absent)


def test_patients_are_drawn_whole() -> None:
    patients = np.repeat(["A", "B", "C", "D"], [1, 10, 3, 6])
    resamples = draw_patients(patients, rounds=200)
    assert (resamples.weights.sum(axis=1) == 4).all()
    values = (patients == "B").astype(float)[:, None]
    means = resamples.means(values)[:, 0]
    for draw, mean in zip(resamples.weights, means, strict=True):
        assert mean == pytest.approx(10 * draw[1] / (draw @ [1, 10, 3, 6]))


def test_interval_of_clustered_patches_is_wider_than_of_independent_ones() -> None:
    rng = np.random.default_rng(6)
    effect = np.repeat(rng.normal(size=20), 30)
    alone = np.array([f"P{i}" for i in range(600)])
    together = np.repeat(alone[:20], 30)
    widths = []
    for patients in (alone, together):
        one = estimate(0.0, draw_patients(patients).means(effect[:, None])[:, 0])
        widths.append(one.high - one.low)
    assert widths[1] > 3 * widths[0]
