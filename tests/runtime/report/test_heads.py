"""Trained heads in the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haiku_edge.runtime.report import Result
from haiku_edge.runtime.report.colour import SCALE_LIMIT
from haiku_edge.runtime.report.heads import answer, head_maps, metrics_in_words
from haiku_edge.runtime.report.html import render_report
from tests.runtime.report.sample import Sample


def test_every_head_that_answered_has_its_maps(run: Sample) -> None:
    maps = list(head_maps(run.result, run.tiles))
    assert [(one.head, one.label) for one in maps] == [
        ("stage", "Attention"),
        ("os", "Attention"),
        ("grade", "low"),
        ("grade", "high"),
    ]


def test_an_equal_share_of_attention_is_the_middle_of_the_colours(run: Sample) -> None:
    attention = run.tiles["head_stage_attention"].to_numpy(zero_copy_only=False)
    values = next(head_maps(run.result, run.tiles)).values
    read = np.isfinite(attention)
    assert values[read] == pytest.approx(np.log2(attention[read] * read.sum()), abs=1e-4)
    assert np.isnan(values[~read]).all()


def test_a_probability_runs_over_the_whole_scale(run: Sample) -> None:
    probability = run.tiles["head_grade_high"].to_numpy(zero_copy_only=False)
    values = list(head_maps(run.result, run.tiles))[-1].values
    assert (values + SCALE_LIMIT) / (2 * SCALE_LIMIT) == pytest.approx(probability, abs=1e-5, nan_ok=True)


def test_answers_are_one_line_with_how_sure_they_are(run: Sample) -> None:
    said = [answer(head).replace("\N{NARROW NO-BREAK SPACE}", " ") for head in run.result.heads]
    assert said == [
        "II, probability 0.55; 90 % set: II, III",
        "risk percentile 78 (58 to 91), high third",
        "low 70 %, high 30 % of the tissue",
        "no answer: it reads clinical notes, and none were given",
    ]


def test_metrics_stand_with_their_intervals_and_settings_are_left_out() -> None:
    bounded = {"value": 0.61, "low": 0.52, "high": 0.7}
    metrics = {"folds": 5, "auroc": {"36 months": bounded}, "width": {"value": 2.0, "low": None, "high": None}}
    said = [("auroc 36 months", "0.61 (0.52 to 0.70)"), ("folds", "5"), ("width", "2.00")]
    assert metrics_in_words(metrics | {"settings": {"depth": 3}}) == said


def test_the_report_shows_each_head_with_figures_and_refusals(outputs: Path) -> None:
    words = (outputs / "report.html").read_text("utf-8").replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "Trained heads" in words
    for expected in ("0.81 (0.70 to 0.89)", "62 % (50 % to 73 %)", "78 (58 to 91)", "beyond their follow-up"):
        assert expected in words
    assert "No answer: it reads clinical notes, and none were given" in words
    assert words.count('href="#head-') == 4


def test_a_bundle_without_heads_has_no_such_section(run: Sample) -> None:
    bare = Result.model_validate(run.result.model_dump() | {"heads": []})
    assert "Trained heads" not in render_report(bare, run.images, run.images.overview, {})
