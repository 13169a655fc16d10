"""A counterfactual on a simulated slide with the embedded bundle: outputs, refusals, control, privacy, reuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from haiku_edge.runtime.counterfactual import Counterfactual, CounterfactualOptions, counterfactual
from haiku_edge.runtime.counterfactual.schema import CounterfactualResult
from haiku_edge.runtime.errors import OutputExistsError, UsageError
from haiku_edge.runtime.inference import PredictOptions, predict
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.report.document import schema_text

SCHEMA = Path(__file__).parents[3] / "docs" / "schema" / "counterfactual.schema.json"


@pytest.fixture(scope="module")
def done(small_slide: Path, notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Counterfactual:
    out = tmp_path_factory.mktemp("out")
    return counterfactual(small_slide, notes, ["stage=IV"], CounterfactualOptions(out=out, random_edits=12))


def test_every_output_is_there_and_carries_the_notice_and_what_it_is_not(done: Counterfactual) -> None:
    assert done.folder.name == "small-counterfactual"
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "counterfactual.parquet",
        "report.html",
        "result.json",
    ]
    page = (done.folder / "report.html").read_text()
    written = json.loads((done.folder / "result.json").read_text())
    said = pq.read_table(done.folder / "counterfactual.parquet").schema.metadata
    assert RESEARCH_USE_ONLY in page and written["notice"] == RESEARCH_USE_ONLY == said[b"notice"].decode()
    assert (
        written["exploratory"].startswith("Exploratory")
        and "Exploratory" in page
        and b"Exploratory" in said[b"exploratory"]
    )
    assert "not causal" in page and any("not causal" in line for line in written["cannot_say"])


def test_the_report_opens_offline(done: Counterfactual) -> None:
    page = (done.folder / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page


def test_numbers_of_the_result_are_means_of_the_tiles_in_the_table(done: Counterfactual) -> None:
    table = done.tiles
    used = np.array(table["status"].to_pylist()) == "used"
    assert used.sum() == done.result.tiles.used > 10
    for row in done.result.markers:
        before, after = (
            np.array(table[f"{row.marker}_{name}"].to_numpy(zero_copy_only=False), np.float64)[used]
            for name in ("before", "after")
        )
        assert row.difference == pytest.approx(np.mean(after - before), abs=1e-6)
        assert row.before is not None and 0 <= row.before <= 1
        for parts in row.parts.values():
            assert parts.composition is not None and parts.within is not None
            assert parts.composition + parts.within == pytest.approx(row.difference, abs=1e-9)
    sizes = [abs(row.difference or 0) for row in done.result.markers]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 0
    assert sum(niche.tiles for niche in done.result.niches) == done.result.tiles.used


def test_what_the_atlas_has_seen_is_counted_and_what_it_has_not_is_said(
    done: Counterfactual, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    (edit,) = done.result.edits
    assert (edit.field, edit.before, edit.after) == ("stage", "IIIA", "IV")
    assert edit.atlas_patients_after > 5 and edit.atlas_patients_known == done.result.bundle.patients
    unseen = counterfactual(small_slide, notes, ["stage=0"], CounterfactualOptions(out=tmp_path, random_edits=0)).result
    assert unseen.edits[0].atlas_patients_after == 0
    assert any("No patient of the atlas has stage = 0" in warning for warning in unseen.warnings)


def test_h_and_e_alone_is_a_control_in_which_nothing_changes(small_slide: Path, notes: Path, tmp_path: Path) -> None:
    options = CounterfactualOptions(out=tmp_path, text_weight=0.0, random_edits=3)
    result = counterfactual(small_slide, notes, ["stage=IV"], options).result
    assert all(row.difference == 0 for row in result.markers) and result.gallery.renewed == 0
    assert any("control" in warning for warning in result.warnings)


@pytest.mark.slow
def test_a_finished_prediction_lends_its_vectors(
    small_slide: Path, notes: Path, tmp_path: Path, done: Counterfactual
) -> None:
    predict(small_slide, notes, PredictOptions(out=tmp_path))
    again = counterfactual(small_slide, notes, ["stage=IV"], CounterfactualOptions(out=tmp_path, random_edits=12))
    assert again.result.tiles.embedding == "from the finished prediction" and done.result.tiles.embedding == "computed"
    assert [row.difference for row in again.result.markers] == [row.difference for row in done.result.markers]


def test_a_finished_result_is_not_replaced_without_force(small_slide: Path, notes: Path, done: Counterfactual) -> None:
    with pytest.raises(OutputExistsError, match="--force"):
        counterfactual(small_slide, notes, ["stage=IV"], CounterfactualOptions(out=done.folder.parent))


def test_bad_edits_are_refused_before_the_slide_is_read(notes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stage"):
        counterfactual(tmp_path / "no.svs", notes, ["smoker=no"], CounterfactualOptions(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_identifiers_and_unknown_facts_reach_no_output(small_slide: Path, tmp_path: Path) -> None:
    secret = tmp_path / "phi.json"
    secret.write_text('{"patient_name": "Jane Q Testcase", "disease": "Lung cancer", "stage": "II", "mood": "gloomy"}')
    options = CounterfactualOptions(out=tmp_path / "out", random_edits=3)
    run = counterfactual(small_slide, secret, ["stage=IV", "mood=sunny"], options)
    everything = b"".join(path.read_bytes() for path in run.files)
    assert not any(word in everything for word in (b"Testcase", b"gloomy", b"sunny", b"mood"))
    assert run.result.text.prompt_after is None and run.result.notes.dropped


def test_an_excluded_patient_is_no_evidence(
    small_slide: Path, notes: Path, tmp_path: Path, done: Counterfactual
) -> None:
    patient = next(patch.patient for tile in done.result.evidence for patch in (*tile.came, *tile.went))
    options = CounterfactualOptions(out=tmp_path, random_edits=0, exclude_patients=(patient,))
    result = counterfactual(small_slide, notes, ["stage=IV"], options).result
    assert patient not in {own.group for own in result.gallery.groups["patient"]}
    assert patient not in {patch.patient for tile in result.evidence for patch in (*tile.came, *tile.went)}


@pytest.mark.parametrize("fusion", ["softmax", "rrf"])
def test_other_published_fusions_run(small_slide: Path, notes: Path, tmp_path: Path, fusion: str) -> None:
    result = counterfactual(
        small_slide, notes, ["stage=IV"], CounterfactualOptions(out=tmp_path, fusion=fusion, random_edits=2)
    ).result
    assert result.parameters["text_weight"] == {"softmax": 0.4, "rrf": 0.3}[fusion]
    assert any(row.difference for row in result.markers)


@pytest.mark.parametrize(
    "wrong",
    [{"fusion": "mean"}, {"niches": 0}, {"niches": 9}, {"random_edits": -1}, {"text_weight": 2.0}, {"neighbours": 0}],
)
def test_values_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        CounterfactualOptions(**wrong)  # type: ignore[arg-type]


def test_the_published_schema_is_the_codes() -> None:
    assert SCHEMA.read_text() == schema_text(CounterfactualResult, "counterfactual")
