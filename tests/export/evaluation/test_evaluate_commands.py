"""`haiku-edge evaluate …` as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from haiku_edge.cli.evaluate_app import app
from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, read_cohort, write_cohort
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import OutputExistsError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from tests.export.evaluation.small_cohort import small_cohort, unit


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _wide(cohort: EmbeddedCohort) -> EmbeddedCohort:
    """The cohort with vectors as long as the embedded bundle's."""
    length = open_bundle(None).manifest.embedding_dimension
    rng = np.random.default_rng(0)
    return replace(cohort, vectors={name: unit(rng, len(cohort), length) for name in ("he", "mif", "text")})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cohort") / "cohort.parquet"
    write_cohort(path, _wide(small_cohort(patients=8)))
    return path


COMMANDS = (
    ("retrieval",),
    ("retrieval", "--label", "grade", "--published"),
    ("biomarkers",),
    ("biomarkers", "--neighbours", "3", "--text-weight", "0"),
    ("knn", "--label", "grade"),
    ("zero-shot", "--label", "disease"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_task_prints_tables_for_research_use_and_writes_the_same_figures(
    command: tuple[str, ...], cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    told = evaluate(command[0], cohort, *command[1:], "--out", out)
    assert told.exit_code == 0, told.output
    assert told.stdout.rstrip().endswith(RESEARCH_USE_ONLY) and "| " in told.stdout
    written = json.loads(out.read_text())
    assert written["notice"] == RESEARCH_USE_ONLY
    printed = evaluate(command[0], cohort, *command[1:], "--json")
    assert json.loads(printed.stdout) == written
    for patient in {f'"{name}"' for name in read_cohort(cohort).patients.tolist()}:
        assert patient not in out.read_text()


@pytest.mark.parametrize("command", ["retrieval", "biomarkers", "knn", "zero-shot"])
def test_figures_are_replaced_only_when_asked(command: str, cohort: Path, tmp_path: Path) -> None:
    """A refusal comes before the cohort is looked at, and so before any work."""
    out = tmp_path / "figures.json"
    out.write_text("precious")
    refused = evaluate(command, tmp_path / "nowhere", "--out", out)
    assert refused.exit_code == OutputExistsError.exit_code and "--force" in refused.output
    assert out.read_text() == "precious"
    assert evaluate(command, cohort, "--out", out, "--force").exit_code == 0
    assert json.loads(out.read_text())["notice"] == RESEARCH_USE_ONLY


def test_a_written_cohort_is_not_replaced_before_an_hour_of_simulation(tmp_path: Path) -> None:
    (tmp_path / "c.parquet").write_text("precious")
    for option in ("--write-cohort", "--out"):
        refused = evaluate(option, tmp_path / "c.parquet", "--bundle", tmp_path / "nowhere")
        assert refused.exit_code == OutputExistsError.exit_code and "--force" in refused.output
    assert (tmp_path / "c.parquet").read_text() == "precious"


@pytest.mark.parametrize("option", ["--out", "--json"])
def test_a_cohort_is_not_written_where_figures_are_asked_for(option: str, tmp_path: Path) -> None:
    asked = (option, tmp_path / "figures.json") if option == "--out" else (option,)
    refused = evaluate("--write-cohort", tmp_path / "c.parquet", *asked, "--bundle", tmp_path / "nowhere")
    assert refused.exit_code == 2 and "measures nothing" in refused.output
    assert not list(tmp_path.iterdir())


def test_json_holds_every_figure_of_retrieval_at_every_length(cohort: Path) -> None:
    document = json.loads(evaluate("retrieval", cohort, "--json").stdout)
    assert {(s["query"], s["gallery"]) for s in document["retrieval"]} == {
        (a, b) for a in ("he", "mif", "text") for b in ("he", "mif", "text") if a != b
    }
    for score in document["retrieval"]:
        assert set(score["at"]) == {"recall", "precision", "f1", "ndcg", "ap"}
        for figure in score["at"].values():
            assert list(figure) == ["1", "5", "10", "20", "50"]
            assert all(one["low"] <= one["value"] <= one["high"] for one in figure.values())
        assert {"mrr", "mean_rank", "median_rank", "chance"} <= set(score)


@pytest.mark.parametrize("command", ["retrieval", "biomarkers", "knn", "zero-shot"])
def test_one_patient_is_refused_with_nothing_written(command: str, tmp_path: Path) -> None:
    path, out = tmp_path / "one.parquet", tmp_path / "figures.json"
    write_cohort(path, _wide(small_cohort(patients=1)))
    told = evaluate(command, path, "--out", out)
    assert told.exit_code == 84 and "Error:" in told.output
    assert not out.exists()


@pytest.mark.parametrize("command", ["retrieval", "biomarkers", "knn", "zero-shot"])
def test_file_that_is_no_cohort_is_refused(command: str, tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    path.write_bytes(b"PAR1 not really")
    assert evaluate(command, path).exit_code == 81
    assert evaluate(command, tmp_path / "nowhere.parquet").exit_code == 81


def test_cohort_of_another_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "narrow.parquet"
    write_cohort(path, small_cohort(patients=4))
    told = evaluate("zero-shot", path)
    assert told.exit_code == 2 and "--bundle" in told.output


def test_options_before_the_task_are_refused_rather_than_dropped(cohort: Path) -> None:
    told = evaluate("--json", "knn", cohort)
    assert told.exit_code == 2 and "behind the task" in told.output


def test_label_of_one_class_is_refused(tmp_path: Path) -> None:
    alike = _wide(small_cohort(patients=4))
    write_cohort(tmp_path / "c.parquet", replace(alike, facts={name: {"stage": "II"} for name in alike.facts}))
    for command in ("retrieval", "knn", "zero-shot"):
        assert evaluate(command, tmp_path / "c.parquet", "--label", "stage").exit_code == 84
