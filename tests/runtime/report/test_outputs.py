"""What stands in the output folder, and what happens when writing goes wrong."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from haiku_edge.runtime.errors import DiskFullError, OutputNotWritableError
from haiku_edge.runtime.report import Result, write_outputs
from haiku_edge.runtime.report.outputs import heatmap_names
from tests.conftest import largest_file

from . import sample


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_folder_holds_exactly_the_promised_files(outputs: Path) -> None:
    said = set(sample.MARKERS) - {sample.ABSTAINED, sample.UNMEASURED}
    heatmaps = {f"heatmaps/{marker}.png" for marker in said}
    assert set(contents(outputs)) == {"result.json", "report.html", "tiles.parquet", "tiles.geojson.gz"} | heatmaps


def test_result_json_is_the_result(run: sample.Sample, outputs: Path) -> None:
    assert Result.model_validate_json((outputs / "result.json").read_bytes()) == run.result


def test_tiles_parquet_is_the_table_with_the_notice(run: sample.Sample, outputs: Path) -> None:
    table = pq.read_table(outputs / "tiles.parquet")
    assert table.replace_schema_metadata(None).equals(run.tiles)
    assert table.schema.metadata[b"notice"].decode() == run.result.notice
    assert run.result.bundle.digest in table.schema.metadata[b"bundle"].decode()


def test_equal_runs_give_equal_bytes_but_for_their_timing(run: sample.Sample, outputs: Path, tmp_path: Path) -> None:
    timing = {stage: seconds + 1.25 for stage, seconds in run.result.timing.items()}
    write_outputs(tmp_path, run.result.model_copy(update={"timing": timing}), run.tiles, run.images)
    first, second = contents(outputs), contents(tmp_path)
    assert {name for name in first if first[name] != second[name]} == {"result.json", "report.html"}
    lines = zip(first["report.html"].splitlines(), second["report.html"].splitlines(), strict=True)
    assert all(b'id="timing"' in a for a, b in lines if a != b)
    without = [
        {key: value for key, value in json.loads(c["result.json"]).items() if key != "timing"} for c in (first, second)
    ]
    assert without[0] == without[1]


def test_a_number_that_is_not_finite_becomes_null(run: sample.Sample, tmp_path: Path) -> None:
    odd = run.result.biomarkers[0].model_copy(update={"spread": math.nan})
    result = run.result.model_copy(
        update={"biomarkers": [odd, *run.result.biomarkers[1:]], "parameters": {"x": math.inf}}
    )
    write_outputs(tmp_path, result, run.tiles, run.images)
    text = (tmp_path / "result.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["biomarkers"][0]["spread"] is None


def test_a_run_without_room_leaves_the_earlier_outputs_as_they_were(run: sample.Sample, tmp_path: Path) -> None:
    older = dict.fromkeys(("result.json", "report.html", "tiles.parquet", "heatmaps/CD8.png"), b"older")
    (tmp_path / "heatmaps").mkdir()
    for name, content in older.items():
        (tmp_path / name).write_bytes(content)
    with largest_file(200_000), pytest.raises(DiskFullError, match="no room"):  # the parquet fits, the heatmaps don't
        write_outputs(tmp_path, run.result, run.tiles, run.images)
    assert contents(tmp_path) == older


def test_a_first_run_without_room_leaves_nothing_at_all(run: sample.Sample, tmp_path: Path) -> None:
    with largest_file(200_000), pytest.raises(DiskFullError, match="Nothing half-written was left"):
        write_outputs(tmp_path, run.result, run.tiles, run.images)
    assert not list(tmp_path.iterdir())


def test_the_error_names_the_place_of_the_file_and_not_where_it_waited(run: sample.Sample, tmp_path: Path) -> None:
    with largest_file(1_000), pytest.raises(DiskFullError) as raised:
        write_outputs(tmp_path, run.result, run.tiles, run.images)
    assert f"{tmp_path / 'tiles.parquet'} " in str(raised.value)


def test_outputs_of_two_runs_are_never_mixed_even_when_the_moving_is_cut_short(
    run: sample.Sample, tmp_path: Path
) -> None:
    write_outputs(tmp_path, run.result, run.tiles, run.images)
    older = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "report.html").unlink()
    (tmp_path / "report.html" / "in the way").mkdir(parents=True)
    with pytest.raises(OutputNotWritableError):
        write_outputs(tmp_path, run.result, run.tiles, run.images)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "result.json" not in left
    assert all(path.stat().st_ino == older[path] for path in left)


def test_a_folder_that_cannot_be_made_is_said(run: sample.Sample, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputNotWritableError, match="can't be written"):
        write_outputs(tmp_path / "file" / "out", run.result, run.tiles, run.images)


def test_a_heatmap_of_an_earlier_bundle_does_not_stay(run: sample.Sample, tmp_path: Path) -> None:
    (tmp_path / "heatmaps").mkdir()
    (tmp_path / "heatmaps" / "Gone.png").write_bytes(b"older")
    written = write_outputs(tmp_path, run.result, run.tiles, run.images)
    assert {str(path.relative_to(tmp_path)) for path in written} == set(contents(tmp_path))
    assert written[-1].name == "result.json"


def test_a_killed_run_leaves_no_result_and_the_next_clears_what_it_left(run: sample.Sample, tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from haiku_edge.runtime.report.staging import staging\n"
        "with staging(Path(sys.argv[1])) as files, files.open('heatmaps/CD8.png') as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = contents(tmp_path)
    assert left.startswith(".")
    written = write_outputs(tmp_path, run.result, run.tiles, run.images)
    assert set(contents(tmp_path)) == {str(path.relative_to(tmp_path)) for path in written}


def test_marker_names_become_safe_and_different_file_names() -> None:
    names = heatmap_names(["CD3", "cd3", "ER/PR", "../x", "α-SMA", "HLA-DR+"])
    assert names["CD3"] == "CD3.png" and names["ER/PR"] == "ER_PR.png" and names["α-SMA"] == "α-SMA.png"
    assert len({name.lower() for name in names.values()}) == len(names)
    assert not [name for name in names.values() if "/" in name or name.startswith(".")]
