"""What stands in the output folder, and what happens when writing goes wrong."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from haiku_edge.runtime.errors import DiskFullError, OutputNotWritableError
from haiku_edge.runtime.report import Result, write_outputs
from haiku_edge.runtime.report.outputs import heatmap_names

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


def test_result_json_comes_last_and_an_older_one_goes_first(run: sample.Sample, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("older")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # the parquet fits, the heatmaps do not
    try:
        with pytest.raises(DiskFullError, match="no room"):
            write_outputs(tmp_path, run.result, run.tiles, run.images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    left = contents(tmp_path)
    assert "tiles.parquet" in left and "result.json" not in left
    assert not [name for name in left if name.endswith(".tmp")]


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
        "import os, sys; from pathlib import Path; from haiku_edge.runtime.atomic import atomic_open\n"
        "with atomic_open(Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)\n"
    )
    for name in ("result.json", "heatmaps/CD8.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / name)], env=os.environ, check=False)
        assert ended.returncode == -signal.SIGKILL
    assert [name.endswith(".tmp") for name in contents(tmp_path)] == [True, True]
    write_outputs(tmp_path, run.result, run.tiles, run.images)
    assert not [name for name in contents(tmp_path) if name.endswith(".tmp")]


def test_marker_names_become_safe_and_different_file_names() -> None:
    names = heatmap_names(["CD3", "cd3", "ER/PR", "../x", "α-SMA", "HLA-DR+"])
    assert names["CD3"] == "CD3.png" and names["ER/PR"] == "ER_PR.png" and names["α-SMA"] == "α-SMA.png"
    assert len({name.lower() for name in names.values()}) == len(names)
    assert not [name for name in names.values() if "/" in name or name.startswith(".")]
