"""`haiku-edge predict` as the README promises it."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest

from haiku_edge.export.synthetic import MPP, write_svs
from haiku_edge.runtime.errors import NoTissueError
from haiku_edge.runtime.inference import PredictOptions, open_model, predict
from tests.conftest import Run

OUTPUTS = ("result.json", "report.html", "tiles.parquet", "tiles.geojson.gz")


def test_a_slide_and_notes_give_every_output(haiku_edge: Run, small_slide: Path, notes: Path, tmp_path: Path) -> None:
    done = haiku_edge("predict", small_slide, "--clinical", notes, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "small"
    assert all((folder / name).stat().st_size for name in OUTPUTS)
    assert "research use only" in (folder / "report.html").read_text().lower()
    first = done.stderr.splitlines()[0]
    assert "cpu" in first and "synthetic bundle" in first
    assert str(folder / "report.html") in done.stderr
    assert not list(folder.rglob(".*")), "something unfinished was left"


def test_json_goes_to_standard_output_and_nothing_else_does(
    haiku_edge: Run, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    done = haiku_edge("predict", small_slide, "--clinical", notes, "--out", tmp_path, "--json")
    printed = json.loads(done.stdout)
    written = json.loads((tmp_path / "small" / "result.json").read_text())
    assert printed == written
    assert len(printed["biomarkers"]) >= 8 and printed["evidence"]


def test_a_finished_result_is_not_replaced_without_force(
    haiku_edge: Run, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "result.json").write_text("{}")
    refused = haiku_edge("predict", small_slide, "--clinical", notes, "--out", tmp_path)
    assert refused.returncode == 52 and "--force" in refused.stderr
    assert (tmp_path / "small" / "result.json").read_text() == "{}"
    assert haiku_edge("predict", small_slide, "--clinical", notes, "--out", tmp_path, "--force").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--device", "tensorrt"], 41, "tensorrt"),
        (["--device", "toaster"], 2, "toaster"),
        (["--text-weight", "1.5"], 2, "text-weight"),
        (["--neighbours", "0"], 2, "neighbours"),
        (["--bundle", "/no/such/bundle"], 31, "bundle"),
        (["--mpp", "30"], 14, "30"),
        (["--out", "/proc/results"], 51, "--out"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_own_code(
    haiku_edge: Run, small_slide: Path, notes: Path, arguments: list[str], code: int, says: str
) -> None:
    done = haiku_edge("predict", small_slide, "--clinical", notes, *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("Error:") == 1


@pytest.mark.parametrize(
    ("content", "code"), [("", 23), ("not json", 21), ("[]", 22), ("3", 22), ('{"a": {"b": 1}}', 22), ("{}", 23)]
)
def test_bad_notes_are_refused_before_the_slide_is_read(
    haiku_edge: Run, small_slide: Path, tmp_path: Path, content: str, code: int
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(content)
    done = haiku_edge("predict", small_slide, "--clinical", bad, "--out", tmp_path / "out")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_identifiers_reach_no_output_and_no_message(haiku_edge: Run, small_slide: Path, tmp_path: Path) -> None:
    secret = tmp_path / "phi.json"
    secret.write_text(
        '{"patient_name": "Jane Q Testcase", "mrn": "MRN-8812345", "dob": "1950-02-03", "disease": "Lung Cancer"}'
    )
    done = haiku_edge("predict", small_slide, "--clinical", secret, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    everything = done.stdout + done.stderr
    written = tmp_path / "out" / "small"
    everything += "".join(p.read_text(errors="replace") for p in written.rglob("*") if p.is_file())
    everything += gzip.decompress((written / "tiles.geojson.gz").read_bytes()).decode()
    table = pq.read_table(written / "tiles.parquet")
    everything += f"{table.schema} {table.drop_columns(['vector']).to_pydict()}"
    assert not any(part in everything for part in ("Testcase", "8812345", "1950-02-03"))
    result = json.loads((tmp_path / "out" / "small" / "result.json").read_text())
    assert result["notes"]["dropped"] and result["notes"]["facts"] == {"disease": "Lung Cancer"}


def test_a_bundle_altered_by_one_byte_is_refused(
    haiku_edge: Run, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(open_model(PredictOptions()).bundle.root, copy)
    tower = copy / "towers" / "he.onnx"
    data = bytearray(tower.read_bytes())
    data[len(data) // 2] ^= 1
    tower.write_bytes(data)
    done = haiku_edge("predict", small_slide, "--clinical", notes, "--bundle", copy)
    assert done.returncode == 33 and "he.onnx" in done.stderr


def test_results_do_not_depend_on_the_number_of_threads(small_slide: Path, notes: Path, tmp_path: Path) -> None:
    one = predict(small_slide, notes, PredictOptions(out=tmp_path / "1", threads=1))
    two = predict(small_slide, notes, PredictOptions(out=tmp_path / "2", threads=2))
    vectors = [np.asarray(run.tiles["vector"].combine_chunks().flatten()) for run in (one, two)]
    assert np.allclose(*vectors, atol=1e-6)
    assert [e.tile for e in one.result.evidence] == [e.tile for e in two.result.evidence]


def test_an_excluded_patient_is_neither_evidence_nor_counted(small_slide: Path, notes: Path, tmp_path: Path) -> None:
    first = predict(small_slide, notes, PredictOptions(out=tmp_path / "all"))
    patient = first.result.evidence[0].neighbours[0].patient
    without = predict(small_slide, notes, PredictOptions(out=tmp_path / "out", exclude_patients=(patient,)))
    shown = {n.patient for e in without.result.evidence for n in e.neighbours}
    assert patient not in shown
    assert without.result.parameters["exclude_patients"] == [patient]


def test_without_notes_both_predictions_are_the_same(small_slide: Path, tmp_path: Path) -> None:
    result = predict(small_slide, None, PredictOptions(out=tmp_path)).result
    assert not result.notes.given
    for row in result.biomarkers:
        assert row.without_notes.value == pytest.approx(row.value) if row.value is not None else True


def test_intervals_hold_the_value_and_tiles_add_up(small_slide: Path, notes: Path, tmp_path: Path) -> None:
    run = predict(small_slide, notes, PredictOptions(out=tmp_path))
    tiles, table = run.result.tiles, pq.read_table(run.folder / "tiles.parquet")
    parts = (tiles.background, tiles.pen, tiles.fold, tiles.blur, tiles.unreadable, tiles.predicted, tiles.abstained)
    assert sum(parts) == tiles.grid
    assert table["status"].to_pylist().count("predicted") == tiles.predicted
    for row in run.result.biomarkers:
        if row.low is not None and row.value is not None and row.high is not None:
            assert row.low <= row.value <= row.high
            own = table[row.marker].to_numpy(zero_copy_only=False)
            assert np.nanmean(own.astype(np.float64)) == pytest.approx(row.value, abs=1e-5)


def test_a_file_name_with_an_identifier_names_nothing(small_slide: Path, tmp_path: Path) -> None:
    telling = tmp_path / "Doe_19561231_MRN12345.svs"
    telling.symlink_to(small_slide)
    run = predict(telling, None, PredictOptions(out=tmp_path / "out"))
    assert run.folder.name.startswith("slide-")
    for path in run.folder.rglob("*.*"):
        assert b"MRN12345" not in path.read_bytes() and "MRN12345" not in path.name
    named = predict(telling, None, PredictOptions(out=tmp_path / "out", name="case 7"))
    assert named.folder.name == "case 7" and named.result.slide.name == "case 7"


def test_a_slide_out_of_focus_is_refused_by_the_filter_that_took_it(small_slide: Path, tmp_path: Path) -> None:
    image = np.asarray(openslide.OpenSlide(small_slide).read_region((0, 0), 0, (1280, 1024)).convert("RGB"))
    blurred = tmp_path / "blurred.svs"
    write_svs(blurred, cv2.GaussianBlur(image, (0, 0), 8), mpp=MPP)
    with pytest.raises(NoTissueError, match="blurred"):
        predict(blurred, None, PredictOptions(out=tmp_path / "out"))
