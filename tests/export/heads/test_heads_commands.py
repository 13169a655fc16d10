"""The commands print what was measured, and nothing of any one patient."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from haiku_edge.cli.heads_app import add_to
from haiku_edge.export.evaluation.embedded_cohort import write_cohort
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import CohortError, HaikuEdgeError, OutputExistsError, UsageError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from tests.export.heads.small_cohort import alike_bags, cohort_of, names, survival_facts

PATIENTS = 16


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    whole, evaluate, train = typer.Typer(), typer.Typer(), typer.Typer()
    whole.add_typer(evaluate, name="evaluate")
    whole.add_typer(train, name="train")
    train.callback()(lambda: None)
    add_to(evaluate, train)
    return whole


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    facts = [
        {**own, "grade": str(1 + i % 2), "organ": "colon", "age": str(50 + i)}
        for i, own in enumerate(survival_facts(rng, np.zeros(PATIENTS)))
    ]
    path = tmp_path_factory.mktemp("cohort") / "cohort.parquet"
    write_cohort(path, cohort_of(alike_bags(rng, PATIENTS, 2, 128), facts, text=list(rng.normal(size=(PATIENTS, 128)))))
    return path


@pytest.mark.parametrize(
    ("arguments", "key", "models"),
    [
        (["probes", "--target", "grade", "--features", "he", "--leaking"], "probes", {"he"}),
        (["mil", "--target", "grade", "--features", "he", "--preset", "ridge"], "mil", {"he, ridge"}),
        (["survival", "--features", "he,text", "--preset", "ridge"], "survival", {"he, ridge", "text, ridge"}),
    ],
)
def test_figures_are_json_on_standard_output_and_name_nobody(
    app: typer.Typer, cohort: Path, tmp_path: Path, arguments: list[str], key: str, models: set[str]
) -> None:
    command, *options = arguments
    out = tmp_path / "figures.json"
    shared = ["--folds", "2", "--out", str(out), "--json"]
    result = CliRunner().invoke(app, ["evaluate", command, str(cohort), *options, *shared])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == json.loads(out.read_text()) and found["notice"] == RESEARCH_USE_ONLY
    assert models <= set(found[key]["models"])
    assert not any(name in result.output for name in names(PATIENTS))
    assert found[key]["patients"] == PATIENTS


def test_tables_carry_the_notice_and_mark_what_reads_the_notes(app: typer.Typer, cohort: Path) -> None:
    arguments = ["evaluate", "mil", str(cohort), "--target", "grade", "--features", "he,text", "--preset", "ridge"]
    result = CliRunner().invoke(app, [*arguments, "--folds", "2"])
    assert result.exit_code == 0 and result.stdout.rstrip().endswith(RESEARCH_USE_ONLY)
    assert "text, ridge ¹" in result.stdout and "he, ridge ¹" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ("evaluate probes COHORT --target organ", CohortError, "the same"),
        ("evaluate survival COHORT --folds 9", CohortError, "too few"),
        ("evaluate mil COHORT --target grade --preset best", UsageError, "crc-outcome"),
        ("train head COHORT --kind slide --out NEW", UsageError, "--target"),
        ("train head COHORT --kind organ --target grade --name other --out NEW", UsageError, "tile, slide"),
        ("train head COHORT --kind survival --name a/b --out NEW", UsageError, "'a/b'"),
        ("train head COHORT --kind survival --features mif --out NEW", UsageError, "he+text"),
        ("train head COHORT --kind survival --exclude-patient X --out NEW", UsageError, "1 of"),
    ],
)
def test_what_can_not_be_done_is_said_and_leaves_nothing_behind(
    app: typer.Typer, cohort: Path, tmp_path: Path, arguments: str, error: type[HaikuEdgeError], said: str
) -> None:
    places = {"COHORT": str(cohort), "NEW": str(tmp_path / "new")}
    result = CliRunner().invoke(app, [places.get(one, one) for one in arguments.split()])
    assert result.exit_code == error.exit_code and said in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["probes --target grade", "mil --target grade", "survival"])
def test_figures_are_replaced_only_when_asked(app: typer.Typer, tmp_path: Path, command: str) -> None:
    (tmp_path / "figures.json").write_text("precious")
    name, *options = command.split()
    arguments = ["evaluate", name, str(tmp_path / "nowhere"), *options, "--out", str(tmp_path / "figures.json")]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == OutputExistsError.exit_code and "--force" in refused.output
    asked = CliRunner().invoke(app, [*arguments, "--force"])
    assert "nowhere" in asked.output
    assert (tmp_path / "figures.json").read_text() == "precious"


def test_a_bundle_is_not_replaced_by_a_head_unasked(app: typer.Typer, cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(open_bundle(None).root, tmp_path / "new")
    arguments = ["train", "head", str(cohort), "--kind", "tile", "--target", "grade", "--name", "low", "--folds", "2"]
    refused = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "new")])
    assert refused.exit_code == OutputExistsError.exit_code and "--force" in refused.output
    assert open_bundle(tmp_path / "new").digest == open_bundle(None).digest
    made = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "new"), "--force"])
    assert made.exit_code == 0, made.output
    assert "low" in {head.name for head in open_bundle(tmp_path / "new").manifest.heads}


@pytest.mark.slow
def test_train_head_writes_a_bundle_in_which_the_excluded_patient_is_not(
    app: typer.Typer, cohort: Path, tmp_path: Path
) -> None:
    arguments = ["train", "head", str(cohort), "--kind", "survival", "--name", "os-two-years", "--preset", "ridge"]
    options = ["--features", "he+text", "--folds", "2", "--exclude-patient", names(PATIENTS)[3], "--json"]
    result = CliRunner().invoke(app, [*arguments, *options, "--out", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["head"]["patients"] == PATIENTS - 1 and "os-two-years" in found["heads"]
    bundle = open_bundle(tmp_path / "new")
    section = next(head for head in bundle.manifest.heads if head.name == "os-two-years")
    assert names(PATIENTS)[3].encode() not in bundle.read(section.cases)
    assert names(PATIENTS)[4].encode() in bundle.read(section.cases)
