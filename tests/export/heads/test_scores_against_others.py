"""Scores and losses are those of lifelines and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from lifelines.utils import concordance_index
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from haiku_edge.export.heads.concordance import concordance, dynamic_auroc, score_risk
from haiku_edge.export.heads.cox import cox_loss
from haiku_edge.export.heads.scores import resample_patients, score_classes, weighted_auroc
from haiku_edge.export.heads.targets import SurvivalTarget


def _target(rng: np.random.Generator, count: int, *, ties: bool) -> SurvivalTarget:
    months = rng.exponential(20, size=count)
    months = np.ceil(months / 6) if ties else months
    return SurvivalTarget("months", np.array([f"Q{i}" for i in range(count)]), months, rng.random(count) < 0.6)


@pytest.mark.parametrize("ties", [False, True])
def test_cox_loss_is_the_partial_likelihood_that_lifelines_maximises(ties: bool) -> None:
    rng = np.random.default_rng(1)
    target = _target(rng, 60, ties=ties)
    x = rng.normal(size=(60, 2))
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(months=target.months, event=target.events)
    model = CoxPHFitter().fit(frame, "months", "event")
    risk = torch.from_numpy(x @ model.params_.to_numpy())
    loss = cox_loss(risk, torch.from_numpy(target.months), torch.from_numpy(target.events), "efron")
    assert float(loss) * target.events.sum() == pytest.approx(-model.log_likelihood_, abs=1e-4)


def test_breslow_lets_everyone_who_is_there_face_each_of_the_dead() -> None:
    rng = np.random.default_rng(2)
    target, risk = _target(rng, 30, ties=True), rng.normal(size=30)
    dead = np.flatnonzero(target.events)
    wanted = -np.mean([risk[i] - np.log(np.exp(risk[target.months >= target.months[i]]).sum()) for i in dead])
    inputs = (torch.from_numpy(risk), torch.from_numpy(target.months), torch.from_numpy(target.events))
    assert float(cox_loss(*inputs, "breslow")) == pytest.approx(wanted)
    assert float(cox_loss(*inputs, "efron")) < wanted


def test_cox_loss_knows_only_differences_of_risk_and_needs_an_event() -> None:
    rng = np.random.default_rng(3)
    target, risk = _target(rng, 25, ties=True), torch.from_numpy(rng.normal(size=25)).requires_grad_()
    months, events = torch.from_numpy(target.months), torch.from_numpy(target.events)
    torch.testing.assert_close(cox_loss(risk + 100, months, events), cox_loss(risk, months, events))
    nothing = cox_loss(risk, months, torch.zeros(25, dtype=torch.bool))
    nothing.backward()
    assert float(nothing.detach()) == 0 and not risk.grad.any()


def test_c_index_is_that_of_lifelines_with_ties_and_censoring() -> None:
    rng = np.random.default_rng(4)
    for ties in (False, True):
        for _ in range(5):
            target = _target(rng, 50, ties=ties)
            risk = np.round(rng.normal(size=50), 1) - 0.02 * target.months
            # lifelines also counts two deaths at the same time, so such are parted here; see the next test.
            distinct = target.months + np.where(target.events, np.arange(50) * 1e-6, 0.5e-3)
            shifted = SurvivalTarget(target.name, target.patients, distinct, target.events)
            wanted = concordance_index(distinct, -risk, target.events)
            assert concordance(risk, shifted)[0] == pytest.approx(wanted)


def test_two_deaths_at_the_same_time_are_no_pair() -> None:
    target = SurvivalTarget("months", np.array(["a", "b", "c"]), np.array([5.0, 5, 9]), np.array([True, True, False]))
    assert concordance(np.array([3.0, 2, 1]), target)[0] == 1
    assert concordance(np.array([1.0, 2, 3]), target)[0] == 0
    alone = target.select(np.array([0, 1]))
    assert np.isnan(concordance(np.array([1.0, 2]), alone)[0])


def test_weights_of_the_bootstrap_count_patients_as_often_as_they_were_drawn() -> None:
    rng = np.random.default_rng(5)
    target = _target(rng, 30, ties=False)
    risk = rng.normal(size=30)
    drawn = np.array([0, 0, 0, 3, 5, 5, 8, 9, 11, 20, 21, 29])
    again = SurvivalTarget("months", target.patients[drawn], target.months[drawn], target.events[drawn])
    counts = np.bincount(drawn, minlength=30)[None].astype(float)
    # A patient drawn twice is no pair with itself, unless censored at its own time of death, which can't be.
    assert concordance(risk, target, counts)[0] == pytest.approx(concordance(risk[drawn], again)[0])


def test_interval_of_a_useless_risk_holds_a_half_and_that_of_a_perfect_one_does_not() -> None:
    rng = np.random.default_rng(6)
    target = _target(rng, 80, ties=False)
    useless = score_risk(rng.normal(size=80), target, -target.months)
    assert useless.concordance.low < 0.5 < useless.concordance.high
    assert useless.against is not None and useless.against.high < 0
    assert score_risk(-target.months, target).concordance.low == 1


def test_dynamic_auroc_without_censoring_is_the_ordinary_one() -> None:
    rng = np.random.default_rng(7)
    months = rng.exponential(20, size=60)
    target = SurvivalTarget("months", np.arange(60).astype(str), months, np.ones(60, bool))
    risk = rng.normal(size=60) - 0.03 * months
    found = dynamic_auroc(risk, target, 15.0, np.ones((1, 60)))
    assert found[0] == pytest.approx(roc_auc_score(months <= 15, risk))


def test_dynamic_auroc_weighs_the_late_dead_up_for_those_who_were_censored_before_them() -> None:
    # 4 at risk at 10: one is censored at 5 of 5, so those who die at 10 stand for 5/4 patients each.
    months, events = np.array([2.0, 5, 10, 30, 30]), np.array([True, False, True, False, False])
    target = SurvivalTarget("months", np.arange(5).astype(str), months, events)
    risk = np.array([0.0, 9, 3, 1, 2])
    weight = 1 / (1 - 1 / 4)
    assert dynamic_auroc(risk, target, 12.0, np.ones((1, 5)))[0] == pytest.approx(weight / (1 + weight))


def test_dynamic_auroc_of_a_draw_is_that_of_the_drawn_patients_with_their_own_censoring() -> None:
    rng = np.random.default_rng(11)
    target = _target(rng, 50, ties=True)
    risk = rng.normal(size=50) - 0.03 * target.months
    month = float(np.median(target.months))
    assert (~target.events & (target.months < month)).any()
    counts = rng.multinomial(50, np.full(50, 1 / 50), size=20)
    found = dynamic_auroc(risk, target, month, counts.astype(float))
    for i, count in enumerate(counts):
        drawn = np.repeat(np.arange(50), count)
        own = SurvivalTarget("months", drawn.astype(str), target.months[drawn], target.events[drawn])
        alone = dynamic_auroc(risk[drawn], own, month, np.ones((1, 50)))
        assert found[i] == pytest.approx(alone[0])


def test_weighted_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(8)
    score, positive = np.round(rng.normal(size=200), 1), rng.random(200) < 0.3
    weights = rng.integers(0, 4, size=(3, 200)).astype(float)
    wanted = [roc_auc_score(positive, score, sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(weighted_auroc(score, positive, weights), wanted)


def test_class_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(9)
    codes = rng.integers(0, 3, size=150)
    logits = rng.normal(size=(150, 3)) + 1.2 * np.eye(3)[codes]
    found = score_classes(logits, codes, np.arange(150))
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.auroc.value == pytest.approx(roc_auc_score(codes, likely, multi_class="ovr"))
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(codes, logits.argmax(axis=1)))
    assert found.macro_f1.value == pytest.approx(f1_score(codes, logits.argmax(axis=1), average="macro"))
    assert found.auroc.low < found.auroc.value < found.auroc.high


def test_interval_by_patient_is_wider_than_patches_would_have_it() -> None:
    rng = np.random.default_rng(10)
    own = rng.normal(size=20)
    codes = np.repeat(np.arange(20) % 2, 30)
    scores = np.repeat(own, 30) + 0.5 * codes
    logits = np.stack([-scores, scores], axis=1)
    by_patient = score_classes(logits, codes, np.repeat(np.arange(20), 30)).auroc
    by_patch = score_classes(logits, codes, np.arange(600)).auroc
    assert by_patient.high - by_patient.low > 3 * (by_patch.high - by_patch.low)


def test_a_patient_is_drawn_with_all_patches() -> None:
    owners = np.array([0, 0, 1, 1, 1, 2])
    weights = resample_patients(owners)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2:4] == weights[:, 3:5]).all()


def test_models_that_learned_nothing_are_at_chance_though_folds_have_other_shares() -> None:
    codes = np.array([1] * 14 + [0] * 26)
    folds = np.array([0, 1, 2, 3, 4] * 2 + [0, 1, 2, 3] + [0, 1, 2, 3, 4] * 5 + [4])
    shares = np.array([[np.mean(codes[folds != fold] == c) for c in (0, 1)] for fold in range(5)])
    scores = np.log(shares)[folds]
    assert score_classes(scores, codes, np.arange(40)).auroc.value < 0.47
    assert score_classes(scores, codes, np.arange(40), folds).auroc.value == pytest.approx(0.5)
