"""`haiku-edge evaluate spade …` as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from haiku_edge.cli.app import app
from haiku_edge.export.evaluation.spade import FEATURES, SPADE, write_spot_cohort
from haiku_edge.runtime.errors import OutputExistsError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from tests.export.evaluation.spade.planted_spots import planted_spots


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "spade", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spots") / "spots.parquet"
    write_spot_cohort(path, planted_spots(patients=12, sections=1, spots=6))
    return path


COMMANDS = {
    "expression": ("--neighbours", "5"),
    "few-shot": ("--draws", "3"),
    "slides": ("--target", "grade", "--heads", "ridge", "--folds", "2", "--workers", "1"),
    "survival": ("--heads", "ridge", "--folds", "2", "--workers", "1"),
    "routing": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_tables_for_research_use_and_writes_the_same_figures(
    command: str, cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    told = evaluate(command, cohort, *COMMANDS[command], "--out", out)
    assert told.exit_code == 0, told.output
    assert told.stdout.rstrip().endswith(RESEARCH_USE_ONLY) and "| " in told.stdout
    written = json.loads(out.read_text())
    assert json.loads(evaluate(command, cohort, *COMMANDS[command], "--json").stdout) == written
    assert "P003" not in told.stdout and "P003" not in out.read_text()
    again = evaluate(command, cohort, *COMMANDS[command], "--out", out)
    assert again.exit_code == OutputExistsError.exit_code


@pytest.mark.slow
@pytest.mark.parametrize("command", ["slides", "survival"])
def test_all_cores_give_the_figures_of_one_process(command: str, cohort: Path) -> None:
    whole = COMMANDS[command]
    alone, beside = (evaluate(command, cohort, *options, "--json") for options in (whole, whole[:-2]))
    assert alone.exit_code == beside.exit_code == 0 and alone.stdout == beside.stdout
    refused = evaluate(command, cohort, *whole[:-1], "0")
    assert refused.exit_code == 2 and "--workers" in refused.output


def test_json_says_for_every_baseline_whether_the_judged_one_is_better(cohort: Path) -> None:
    document = json.loads(evaluate("expression", cohort, "--json").stdout)["expression"]
    verdicts = {
        one["less"]: one["verdict"]
        for one in document["gains"]
        if (one["searched"], one["measure"]) == ("image", "inside sections")
    }
    assert verdicts[FEATURES] == "better" and set(verdicts.values()) <= {"better", "no difference", "worse"}
    named = next(one for one in document["scores"] if (one["name"], one["searched"]) == (SPADE, "image"))
    assert list(named["genes"]) == [f"G{number}" for number in range(6)]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_can_not_be_used_is_refused_with_nothing_written(command: str, tmp_path: Path) -> None:
    one = planted_spots(patients=2)
    write_spot_cohort(tmp_path / "one.parquet", one.select(one.patients == "P000"))
    (tmp_path / "text.parquet").write_text("no table")
    out, rest = tmp_path / "figures.json", COMMANDS[command]
    for name, code in (("one.parquet", 84), ("text.parquet", 81), ("nowhere.parquet", 81)):
        told = evaluate(command, tmp_path / name, *rest, "--out", out)
        assert told.exit_code == code and "Error:" in told.output, told.output
    write_spot_cohort(tmp_path / "other.parquet", replace(planted_spots(), vectors={FEATURES: np.eye(288, 4)}, keys={}))
    told = evaluate(command, tmp_path / "other.parquet", *rest, "--out", out)
    assert told.exit_code == 2 and "SPADE" in told.output
    assert not out.exists()
