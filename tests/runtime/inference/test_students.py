"""A student runs where only a processor would, and every output says so; the bundle's own tower stays what it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from haiku_edge.runtime.bundle import Bundle, Description, bundle_info, open_bundle, parse_manifest
from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.errors import BundleContentError, UsageError
from haiku_edge.runtime.inference import PredictOptions, open_model, predict
from haiku_edge.runtime.inference.predict import Prediction
from haiku_edge.runtime.inference.recipe import embedding_recipe
from haiku_edge.runtime.inference.self_test import run_self_test
from haiku_edge.runtime.inference.survey import survey_slide
from haiku_edge.runtime.slide import open_slide
from tests.runtime.inference.students import AGREEMENT, SECTION, bundle_with_student, mean_colour


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_with_student(tmp_path_factory.mktemp("students") / "bundle")


@pytest.fixture(scope="module")
def prediction(folder: Path, small_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    options = PredictOptions(bundle=folder, out=tmp_path_factory.mktemp("out"), device="cpu")
    return predict(small_slide, None, options)


def described(bundle: Bundle, **changes: object) -> Description:
    stated = {name: getattr(bundle.manifest, name) for name in Description.model_fields}
    return Description(**(stated | changes))


def test_a_manifest_with_a_student_reads_back(folder: Path) -> None:
    bundle = open_bundle(folder)
    again = parse_manifest((folder / "bundle.json").read_bytes(), "bundle")
    assert again == bundle.manifest and again.students == (SECTION,)
    (shown,) = bundle_info(bundle)["students"]
    assert shown["name"] == "student-mobile" and shown["agreement"]["cosine_mean"] == AGREEMENT.cosine_mean


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"students": (SECTION, SECTION)}, "same kind"),
        ({"students": (SECTION.model_copy(update={"mpp": 0.25}),)}, "other tiles"),
        ({"students": (SECTION,), "schema_version": "1.1", "training": None}, "came with"),
    ],
)
def test_students_that_do_not_fit_are_refused(folder: Path, changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        described(open_bundle(folder), **changes)


def test_a_student_is_not_calibrated_where_its_teacher_is_not(folder: Path) -> None:
    bundle = open_bundle(folder)
    student = SECTION.model_copy(update={"calibration": bundle.manifest.calibration})
    with pytest.raises(ValidationError, match="is calibrated, but"):
        described(bundle, calibration=None, students=(student,))


def test_on_a_processor_the_student_predicts_and_every_output_says_so(prediction: Prediction) -> None:
    device = prediction.result.device
    assert device.tower == "student-mobile" and device.agreement == AGREEMENT.model_dump()
    written = json.loads((prediction.folder / "result.json").read_text())
    assert written["device"]["tower"] == "student-mobile"
    assert any("mean cosine 0.870" in warning and "--tower teacher" in warning for warning in written["warnings"])
    assert "student-mobile" in (prediction.folder / "report.html").read_text()


def test_the_vectors_are_the_students(prediction: Prediction, folder: Path, small_slide: Path) -> None:
    from haiku_edge.runtime.slide import TileStream

    table = pq.read_table(prediction.folder / "tiles.parquet")
    vectors = np.asarray(table["vector"].combine_chunks().flatten()).reshape(len(table), -1)
    slide = open_slide(small_slide)
    plan = survey_slide(slide, size=256, mpp=0.5).plan
    with TileStream(slide, plan, batch_size=len(plan.grid), threads=1) as stream:
        (batch,) = stream
        np.testing.assert_allclose(vectors, mean_colour(batch.tiles), atol=1e-5)
    slide.close()


def test_without_calibration_cases_of_its_own_nothing_has_an_interval(prediction: Prediction) -> None:
    assert prediction.result.calibration is None
    assert all(item.low is None and item.high is None for item in prediction.result.biomarkers)
    assert any("no intervals" in warning for warning in prediction.result.warnings)


def test_heads_that_the_teacher_trained_are_not_asked(prediction: Prediction) -> None:
    assert prediction.result.heads
    assert all(head.status == "refused" and "a student ran" in str(head.reason) for head in prediction.result.heads)


def test_the_teacher_gives_the_very_vectors_that_it_gave_before(folder: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    bundle = open_bundle(None)
    before = plain_engine(bundle.read(bundle.manifest.he.file), threads=1)(tiles=tiles)
    for options in (PredictOptions(folder, tower="teacher", threads=1), PredictOptions(folder, strict=True, threads=1)):
        model = open_model(options)
        assert model.tower.name == "teacher" and model.cases is not None
        np.testing.assert_array_equal(model.engine(tiles=tiles), before)


def test_tiles_of_one_tower_are_never_taken_for_the_others(folder: Path, small_slide: Path) -> None:
    slide = open_slide(small_slide)
    plan = survey_slide(slide, size=256, mpp=0.5).plan
    slide.close()
    models = [open_model(PredictOptions(folder, device="cpu", tower=tower)) for tower in ("teacher", "student", "auto")]
    teacher, student, auto = (
        embedding_recipe(model.bundle, [(model.tower.name, model.engine)], model.batching, plan, "digest")
        for model in models
    )
    assert teacher != student and auto == student


def test_the_first_line_names_the_student_and_its_agreement(folder: Path) -> None:
    line = open_model(PredictOptions(folder, device="cpu")).first_line()
    assert "small tower (mobile)" in line and "mean cosine 0.870 (least 0.51)" in line and "3 other patients" in line
    assert "small tower" not in open_model(PredictOptions(folder, device="cpu", tower="teacher")).first_line()


def test_a_calibrated_student_brings_its_own_cases(tmp_path: Path) -> None:
    bundle = open_bundle(None)
    calibration = bundle.manifest.need_calibration()
    own = calibration.model_copy(update={"file": "calibration/student-mobile.arrow"})
    files = {"calibration__student-mobile.arrow": bundle.read(calibration.file)}
    section = SECTION.model_copy(update={"calibration": own})
    model = open_model(PredictOptions(bundle_with_student(tmp_path / "b", section, **files), device="cpu"))
    assert model.tower.name == "student-mobile" and model.calibrate(with_notes=False).patients == own.patients


def test_a_student_that_is_not_there_is_refused() -> None:
    with pytest.raises(BundleContentError, match="export distill"):
        open_model(PredictOptions(device="cpu", tower="student"))
    with pytest.raises(UsageError, match="--tower pupil"):
        PredictOptions(tower="pupil")
    with pytest.raises(UsageError, match="--strict"):
        PredictOptions(tower="student", strict=True)


def test_the_self_test_judges_the_student_by_its_own_vectors(folder: Path) -> None:
    checks = {check.name: check for check in run_self_test(PredictOptions(bundle=folder, device="cpu"))}
    assert checks["student (mobile)"].passed and checks["H&E tower"].passed
