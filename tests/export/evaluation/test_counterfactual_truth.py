"""Recovered against true shifts: the truth is the simulator's own, and a perfect answer scores perfectly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from haiku_edge.export.cohort import PATCH, Section
from haiku_edge.export.evaluation import counterfactual_truth as truth
from haiku_edge.export.evaluation.counterfactual_render import counterfactual_metrics, render_counterfactual
from haiku_edge.export.synthetic import MARKERS, edit_patient, patches, render_region, simulate_cohort, true_shift
from haiku_edge.runtime.counterfactual import Search


def test_the_true_shift_is_the_simulators() -> None:
    patient = next(p for p in simulate_cohort(20, seed=5) if p.biology.stage < 3)
    region = render_region(patient, 2 * PATCH, 2 * PATCH)
    cut = patches(region)
    keep = np.array([0, 3])
    section = Section(
        cut.he[keep],
        cut.mif[keep],
        cut.expression[keep],
        cut.expected[keep],
        cut.expected_without_facts[keep],
        cut.origins[keep],
    )
    seen = truth._Seen(patient, section, 2)
    assert np.allclose(seen.before, cut.expected[keep], atol=1e-3)
    edits = {"tnm": "T4 N2 M1"}
    expected = true_shift(patient, edits, region=region)[keep]
    assert np.allclose(seen.shift(edit_patient(patient, edits)), expected, atol=1e-3)
    assert np.abs(expected).max() > 0.1


def test_edits_apply_to_some_patients_and_never_leave_them_as_they_were() -> None:
    cohort = simulate_cohort(80, seed=2)
    for name, edit in truth.EDITS.items():
        changed = [(p, edits) for p in cohort if (edits := edit(p.facts)) is not None]
        assert 0 < len(changed) < len(cohort), name
        assert all(edit_patient(p, edits).facts != p.facts for p, edits in changed)


def _shifts(noise: float, sign: float = 1.0) -> dict[str, list[truth._Shift]]:
    random = np.random.default_rng(0)
    made: dict[str, list[truth._Shift]] = {}
    for name in ("one", "other"):
        real = random.normal(0, 0.5, len(MARKERS))
        made[name] = [
            truth._Shift(p, real, sign * 0.5 * real + noise * random.normal(size=len(MARKERS)), real) for p in range(12)
        ]
    return made


def test_a_right_answer_of_half_the_size_scores_so() -> None:
    score = truth._score(_shifts(0.0), 12, Search())
    assert (
        score.recovered.share == 1 and score.recovered.size == pytest.approx(0.5) and score.spearman == pytest.approx(1)
    )
    assert score.oracle.size == pytest.approx(1) and score.recovered.low == score.recovered.high == 1
    assert 20 < score.recovered.pairs <= 36 and score.recovered.p == pytest.approx(2.0**-score.recovered.pairs)


def test_the_opposite_answer_scores_nothing_and_noise_scores_half() -> None:
    assert truth._score(_shifts(0.0, -1.0), 12, Search()).recovered.share == 0
    shares = truth._score(_shifts(50.0), 12, Search()).recovered
    assert 0.2 < shares.share < 0.8 and shares.low < 0.5 < shares.high


def test_where_nothing_truly_shifts_there_is_no_figure() -> None:
    still = [truth._Shift(p, np.zeros(len(MARKERS)), np.zeros(len(MARKERS)), np.zeros(len(MARKERS))) for p in range(3)]
    score = truth._score({"one": still}, 3, Search())
    assert score.recovered.pairs == 0 and np.isnan([score.recovered.share, score.spearman]).all()
    assert "–" in render_counterfactual(score) and counterfactual_metrics(score)["spearman"]["oracle"] is None


def test_the_printed_figures_are_the_scores() -> None:
    score = truth._score(_shifts(0.0), 12, Search())
    assert "100% of" in render_counterfactual(score) and "50%" in render_counterfactual(score)
    metrics = counterfactual_metrics(replace(score, spearman=float("nan")))
    assert metrics["directions"]["recovered"]["share"] == 1 and metrics["spearman"]["recovered"] is None


def test_chance_and_rank_correlation_are_scipys() -> None:
    assert truth.binomial_tail(36, 43) == pytest.approx(stats.binomtest(36, 43, alternative="greater").pvalue)
    random = np.random.default_rng(0)
    one, other = random.integers(0, 6, 30).astype(float), random.normal(size=30)
    assert truth.spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


@pytest.mark.slow
def test_the_embedded_bundle_finds_directions_better_than_chance_and_ideal_text_finds_more(tmp_path: Path) -> None:
    from haiku_edge.export.cohort import simulate_part
    from haiku_edge.export.evaluation.evaluate import open_engines, read_cohort
    from haiku_edge.export.evaluation.held_out import embed_part
    from haiku_edge.runtime.bundle import open_bundle

    bundle = open_bundle(None)
    split, seed = read_cohort(bundle)
    part, engines = simulate_part("test", split, seed, tmp_path), open_engines(bundle)
    embedded = embed_part(engines, part.sections())
    score = truth.score_counterfactual(bundle, part, embedded, engines, side=split.side("test"))
    assert score.recovered.pairs > 30 and score.recovered.low > 0.5 and score.recovered.p < 0.001
    assert score.oracle.share > 0.8 and score.oracle.size > score.recovered.size > 0
