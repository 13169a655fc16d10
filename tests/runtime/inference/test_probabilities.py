"""Logits to probabilities and sets of classes, against scikit-learn and on simulated patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration
from sklearn.linear_model import LogisticRegression

from haiku_edge.runtime.inference.probabilities import calibrate_classes, fit_scaling


def _binary(size: int, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too sure by `scale`, and the labels that they are drawn with."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0.3, 1.2, size)
    labels = (rng.uniform(size=size) < 1 / (1 + np.exp(-true))).astype(np.int64)
    return np.stack([np.zeros(size), scale * true], axis=1), labels


def test_two_classes_are_platts_method() -> None:
    logits, labels = _binary(150)
    scaling = fit_scaling(logits, labels, np.full(150, 1 / 150))
    reference = _SigmoidCalibration().fit(logits[:, 1], labels)
    assert scaling(logits)[:, 1] == pytest.approx(reference.predict(logits[:, 1]), abs=1e-4)


def test_with_many_cases_it_is_logistic_regression_on_the_score() -> None:
    logits, labels = _binary(4000, scale=3.0)
    fitted = LogisticRegression(C=1e9).fit(logits[:, 1:], labels)
    scaling = fit_scaling(logits, labels, np.full(4000, 1 / 4000))
    assert scaling.scale == pytest.approx(fitted.coef_[0, 0], rel=0.01)
    assert scaling.scale == pytest.approx(1 / 3, rel=0.15)


def test_three_classes_get_the_shares_that_they_have() -> None:
    rng = np.random.default_rng(5)
    true = rng.normal(size=(6000, 3))
    shares = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in shares])
    wrong = 2.5 * true + np.array([1.0, 0.0, -2.0])
    got = fit_scaling(wrong, labels, np.full(6000, 1 / 6000))(wrong)
    assert np.abs(got - shares).max() < 0.06
    assert got.sum(axis=1) == pytest.approx(np.ones(6000))


def test_scores_that_rank_the_wrong_way_round_leave_the_classes_shares() -> None:
    logits, labels = _binary(300, scale=-2.0)
    scaling = fit_scaling(logits, labels, np.full(300, 1 / 300))
    assert scaling.scale == 0
    assert scaling(logits)[:, 1] == pytest.approx(np.full(300, labels.mean()), abs=0.01)


def test_separated_classes_stay_finite_and_short_of_certain() -> None:
    logits = np.array([[0.0, -5], [0, -4], [0, 4], [0, 5.0]])
    probabilities = fit_scaling(logits, np.array([0, 0, 1, 1]), np.full(4, 0.25))(logits)
    assert np.isfinite(probabilities).all()
    assert probabilities[3, 1] < 0.9


def test_a_patient_with_many_tiles_counts_like_one_with_few() -> None:
    """A patient seen 50 times moves nothing more than the same patient seen once."""
    logits, labels = _binary(60, seed=2)
    names = np.array([f"p{i}" for i in range(60)])
    often = np.concatenate([np.arange(60), np.full(49, 7)])
    once = calibrate_classes(logits, labels, names, 0.9)
    many = calibrate_classes(logits[often], labels[often], names[often], 0.9)
    assert many.patients == once.patients == 60
    assert many.least == pytest.approx(once.least, abs=0.05)


def test_sets_hold_the_true_class_of_new_patients_as_often_as_promised() -> None:
    held = []
    for seed in range(30):
        logits, labels = _binary(400, seed=seed)
        names = np.array([f"p{i}" for i in range(100)])
        calibration = calibrate_classes(logits[:100], labels[:100], names, 0.9)
        members = calibration.members(calibration.scaling(logits[100:]))
        held.append(members[np.arange(300), labels[100:]].mean())
    assert 0.87 <= np.mean(held) <= 0.95


def test_too_few_patients_leave_every_class_possible() -> None:
    logits, labels = _binary(8)
    calibration = calibrate_classes(logits, labels, np.array([f"p{i}" for i in range(8)]), 0.9)
    assert calibration.members(calibration.scaling(logits)).all()
