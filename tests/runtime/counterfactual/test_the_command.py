"""`haiku-edge counterfactual` in a process of its own, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Run


@pytest.mark.slow
def test_the_command_prints_the_written_result_and_nothing_else(
    haiku_edge: Run, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    done = haiku_edge(
        "counterfactual", small_slide, "--clinical", notes, "--set", "stage=IV", "--set", "grade=1",
        "--random-edits", 5, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "small-counterfactual"
    printed = json.loads(done.stdout)
    assert printed == json.loads((folder / "result.json").read_text()) and len(printed["edits"]) == 2
    assert str(folder / "report.html") in done.stderr and not list(folder.glob(".*"))


def test_an_edit_that_does_not_fit_ends_with_a_message_and_no_folder(
    haiku_edge: Run, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    done = haiku_edge("counterfactual", small_slide, "--clinical", notes, "--set", "smoker=no", "--out", tmp_path / "o")
    assert done.returncode == 2 and done.stderr.count("Error:") == 1 and "Traceback" not in done.stderr
    assert "tissue_type" in done.stderr and not (tmp_path / "o").exists()
