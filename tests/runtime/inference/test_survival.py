"""Cox's slope, Breslow's curve and ranks, against lifelines and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from haiku_edge.runtime.inference.survival import Cohort, ends, fit_cox, mid_percentile, survival_at


def _cohort(size: int = 120, slope: float = 0.8, seed: int = 3) -> Cohort:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=size)
    event_time = rng.exponential(40 * np.exp(-slope * score))
    censored = rng.uniform(6, 90, size)
    return Cohort(score, np.minimum(event_time, censored), event_time <= censored)


def test_slope_and_curve_are_those_of_lifelines() -> None:
    cohort = _cohort()
    frame = pd.DataFrame({"score": cohort.score, "months": cohort.months, "event": cohort.event})
    reference = CoxPHFitter(baseline_estimation_method="breslow").fit(frame, "months", "event")
    model = fit_cox(cohort)
    assert model.slope == pytest.approx(reference.params_["score"], abs=1e-4)
    cases = pd.DataFrame({"score": [-1.0, 0.0, 1.7]})
    # At event times, since between them lifelines draws a straight line where Breslow's curve is flat.
    for months in np.sort(cohort.months[cohort.event])[::15]:
        expected = reference.predict_survival_function(cases, times=[months]).to_numpy()[0]
        got = [model.survival(score, months) for score in cases["score"]]
        assert got == pytest.approx(expected.tolist(), abs=2e-4)


def test_without_any_difference_in_risk_the_curve_counts_patients() -> None:
    """Of four patients one dies at each of 1, 2, 3 months: hazards 1/4, 1/3, 1/2 (Nelson and Aalen)."""
    cohort = Cohort(np.zeros(4), np.array([3.0, 1.0, 9.0, 2.0]), np.array([True, True, False, True]))
    model = fit_cox(cohort)
    assert model.slope == 0
    assert model.survival(0.0, 0.5) == 1
    assert model.survival(0.0, 2.5) == pytest.approx(np.exp(-(1 / 4 + 1 / 3)))
    assert model.survival(0.0, 100) == pytest.approx(np.exp(-(1 / 4 + 1 / 3 + 1 / 2)))


def test_deaths_at_the_same_time_share_one_risk_set() -> None:
    cohort = Cohort(np.zeros(5), np.array([4.0, 4.0, 4.0, 8.0, 9.0]), np.array([True, True, False, False, True]))
    assert fit_cox(cohort).survival(0.0, 5) == pytest.approx(np.exp(-2 / 5))


@pytest.mark.parametrize("event", [np.zeros(6, bool), np.ones(6, bool)])
def test_no_event_and_perfect_order_stay_finite(event: np.ndarray) -> None:
    cohort = Cohort(np.arange(6.0), np.arange(6.0, 0, -1), event)
    model = fit_cox(cohort)
    assert np.isfinite(model.slope)
    assert 0 <= model.survival(2.0, 3.0) <= 1
    assert (model.survival(2.0, 3.0) == 1) == (not event.any())


def test_worse_scores_survive_less_and_later_is_never_more() -> None:
    good, bad = (survival_at(_cohort(), score, (12.0, 36.0, 60.0), 0.9) for score in (-1.0, 1.0))
    for one, other in zip(good, bad, strict=True):
        assert one.low <= one.value <= one.high
        assert other.value < one.value
    assert good[0].value >= good[1].value >= good[2].value


def test_intervals_hold_the_truth_about_as_often_as_they_promise() -> None:
    truth = float(np.exp(-(24 / 40) * np.exp(0.8 * 0.5)))
    held = []
    for seed in range(20):
        (point,) = survival_at(_cohort(80, seed=seed), 0.5, (24.0,), 0.9)
        held.append(point.low <= truth <= point.high)
    assert np.mean(held) >= 0.75


def test_the_percentile_counts_those_below_and_half_of_the_equal() -> None:
    reference = np.array([1.0, 2.0, 2.0, 3.0])
    assert mid_percentile(reference, 2.0) == 50
    assert mid_percentile(reference, 0.0) == 0
    assert mid_percentile(reference, 4.0) == 100
    assert mid_percentile(reference, 2.5) == 75


def test_ends_leave_equal_shares_outside() -> None:
    assert ends(np.arange(101.0), 0.9) == pytest.approx((5, 95))
