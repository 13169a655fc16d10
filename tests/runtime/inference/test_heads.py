"""Trained heads of a bundle, run on a slide by `predict`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import BundleContentError, EngineError
from haiku_edge.runtime.inference import Prediction, PredictOptions, open_model, predict
from haiku_edge.runtime.inference.head_findings import LEAST_TILES, SlideVectors, ask_heads, tile_blocks
from haiku_edge.runtime.inference.head_graph import HeadGraph
from haiku_edge.runtime.inference.heads import Head, read_heads
from haiku_edge.runtime.inference.self_test import run_self_test
from haiku_edge.runtime.report.schema import HeadFinding
from tests.runtime.inference.bundles import CLASSES, bundle_with_heads, class_cases, rewrite, slide_head
from tests.runtime.inference.small_atlas import unit


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_with_heads(tmp_path_factory.mktemp("heads") / "bundle")


@pytest.fixture(scope="module")
def heads(bundle: Path) -> tuple[Head, ...]:
    return read_heads(open_bundle(bundle))


@pytest.fixture(scope="module")
def run(bundle: Path, small_slide: Path, notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    return predict(small_slide, notes, PredictOptions(bundle=bundle, out=tmp_path_factory.mktemp("out")))


def _named(result: Prediction) -> dict[str, HeadFinding]:
    return {finding.name: finding for finding in result.result.heads}


def _vectors(count: int, seed: int = 1) -> SlideVectors:
    rng = np.random.default_rng(seed)
    he, text = unit(rng.normal(size=(count, 128))), unit(rng.normal(size=128))
    return SlideVectors(he, text, np.arange(count), np.arange(count) // 3)


def test_the_slides_attention_is_that_of_the_formula(run: Prediction, bundle: Path) -> None:
    """Recompute softmax(V q) with the very constants of the graph."""
    rng = np.random.default_rng(0)
    rng.integers(0, 3, 80), rng.normal(size=(80, 3)), rng.normal(size=(80, 1))
    rng.exponential(np.ones(80)), rng.uniform(10, 90, 80)
    query = 4 * rng.normal(size=128)
    read = np.array([value is not None for value in run.tiles["head_stage_attention"].to_pylist()])
    vectors = np.array(run.tiles["vector"].to_pylist())[read]
    energy = vectors @ query
    expected = np.exp(energy - energy.max()) / np.exp(energy - energy.max()).sum()
    got = run.tiles["head_stage_attention"].to_numpy(zero_copy_only=False)[read]
    assert got == pytest.approx(expected, rel=1e-3)
    carried = np.sort(expected)[::-1].cumsum()
    assert _named(run)["stage"].half_of_attention == int((carried < 0.5).sum()) + 1


def test_probabilities_sum_to_one_and_the_set_holds_the_likeliest(run: Prediction) -> None:
    stage = _named(run)["stage"]
    assert [one.name for one in stage.classes] == list(CLASSES)
    assert sum(one.probability for one in stage.classes) == pytest.approx(1)
    assert max(stage.classes, key=lambda one: one.probability).in_set


def test_a_tile_classifier_says_how_much_of_the_tissue_is_what(run: Prediction) -> None:
    grade = _named(run)["grade"]
    columns = [run.tiles[f"head_grade_{name}"].to_numpy(zero_copy_only=False) for name in CLASSES]
    table = np.stack(columns, axis=1).astype(float)
    known = table[np.isfinite(table).all(axis=1)]
    assert grade.tiles == len(known)
    assert known.sum(axis=1) == pytest.approx(np.ones(len(known)), abs=1e-5)
    for i, one in enumerate(grade.classes):
        assert one.probability == pytest.approx(known[:, i].mean(), abs=1e-5)
        assert one.tiles == (known.argmax(axis=1) == i).sum()


def test_a_risk_stands_among_the_training_patients(run: Prediction, heads: tuple[Head, ...]) -> None:
    risk = _named(run)["survival"].risk
    assert risk is not None
    reference = next(head for head in heads if head.section.name == "survival").cases.scores[:, 0]
    assert risk.percentile == pytest.approx(100 * (reference < risk.score).mean(), abs=1)
    assert risk.low <= risk.percentile <= risk.high
    assert risk.group == ("low", "middle", "high")[int(risk.percentile // (100 / 3))]
    assert [point.months for point in risk.survival] == [12, 36, 60]
    for point in risk.survival:
        assert point.low <= point.probability <= point.high


def test_a_head_with_notes_needs_notes(bundle: Path, run: Prediction, small_slide: Path, tmp_path: Path) -> None:
    assert _named(run)["notes-risk"].status == "predicted"
    without = _named(predict(small_slide, None, PredictOptions(bundle=bundle, out=tmp_path)))
    assert without["notes-risk"].status == "refused" and "notes" in without["notes-risk"].reason
    assert without["stage"].status == "predicted"


def test_a_head_refuses_the_slide_of_its_own_training_patient(heads: tuple[Head, ...]) -> None:
    for result in ask_heads(heads, _vectors(20), ("T003",), None):
        assert result.finding.status == "refused" and "trained on" in result.finding.reason
        assert not result.finding.classes and result.finding.risk is None and not result.columns
    assert all(result.finding.status == "predicted" for result in ask_heads(heads, _vectors(20), ("other",), None))


def test_a_training_patient_may_be_named_though_no_evidence_is_theirs(bundle: Path) -> None:
    assert open_model(PredictOptions(bundle=bundle, exclude_patients=("T003",))).allowed is not None


def test_too_few_tiles_are_no_slide(heads: tuple[Head, ...]) -> None:
    few = {result.finding.name: result.finding for result in ask_heads(heads, _vectors(LEAST_TILES - 1), (), None)}
    assert few["stage"].status == few["survival"].status == "refused"
    assert str(LEAST_TILES) in few["stage"].reason
    assert few["grade"].status == "predicted"


def test_the_order_of_tiles_changes_nothing(heads: tuple[Head, ...]) -> None:
    slide, order = _vectors(30), np.random.default_rng(2).permutation(30)
    turned = SlideVectors(slide.he[order], slide.text, slide.tiles[order], slide.blocks[order])
    for one, other in zip(ask_heads(heads, slide, (), None), ask_heads(heads, turned, (), None), strict=True):
        for name, values in one.columns.items():
            assert other.columns[name] == pytest.approx(values[order], abs=1e-5)
        if one.finding.risk is not None:
            assert other.finding.risk.score == pytest.approx(one.finding.risk.score, abs=1e-5)


def test_neighbouring_tiles_share_a_block(run: Prediction) -> None:
    class Grid:
        columns = np.array([0, 1, 3, 4, 0])
        rows = np.array([0, 0, 3, 0, 4])

    blocks = tile_blocks(Grid(), np.arange(5))  # type: ignore[arg-type]
    assert blocks[0] == blocks[1] == blocks[2]
    assert len({blocks[0], blocks[3], blocks[4]}) == 3


@pytest.mark.parametrize(
    ("graph", "cases", "says"),
    [
        (b"no graph", None, "graph"),
        (slide_head(np.ones((128, 2)), np.ones(128)), None, "shape"),
        (None, b"no table", "cases"),
        (None, class_cases(["a", "b"], np.zeros((2, 3)), ["I", "IV"]), "cases"),
        (None, class_cases(["a", "a"], np.zeros((2, 3)), ["I", "II"]), "twice"),
        (None, class_cases(["a", "b"], np.full((2, 3), np.nan), ["I", "II"]), "finite"),
    ],
)
def test_a_spoilt_head_is_refused(
    bundle: Path, tmp_path: Path, graph: bytes | None, cases: bytes | None, says: str
) -> None:
    good = open_bundle(bundle)
    section = next(head for head in good.manifest.heads if head.name == "stage")
    files = {section.file: graph or good.read(section.file), section.cases: cases or good.read(section.cases)}
    spoilt = open_bundle(rewrite(tmp_path / "spoilt", files, heads=(section,)))
    with pytest.raises(BundleContentError, match=says):
        ask_heads(read_heads(spoilt), _vectors(20), (), None)
    with pytest.raises(BundleContentError, match=says):
        predict(tmp_path / "no-such-slide.svs", None, PredictOptions(bundle=tmp_path / "spoilt", out=tmp_path))


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "*/_ORT_MEM_ADDR_/*"])
def test_a_head_never_reads_a_file_where_the_process_runs(
    heads: tuple[Head, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """ONNX Runtime would take it: opened from bytes, it looks for weights in the working directory."""
    monkeypatch.chdir(tmp_path)
    grade = next(head for head in heads if head.section.name == "grade")
    model = onnx.load_from_string(grade.graph)
    (weight,) = model.graph.initializer
    (tmp_path / "secret.bin").write_bytes(numpy_helper.to_array(weight).tobytes())
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    with pytest.raises(BundleContentError, match="head grade wants weights from"):
        HeadGraph(replace(grade, graph=model.SerializeToString()))


def test_a_head_of_other_towers_is_refused_before_the_slide_is_read(bundle: Path, tmp_path: Path) -> None:
    section = next(head for head in open_bundle(bundle).manifest.heads if head.name == "stage")
    files = {
        section.file: slide_head(np.ones((64, 3)), np.ones(64)),
        section.cases: open_bundle(bundle).read(section.cases),
    }
    other = rewrite(tmp_path / "other", files, heads=(section,))
    with pytest.raises(EngineError, match="stage"):
        predict(tmp_path / "no-such-slide.svs", None, PredictOptions(bundle=other, out=tmp_path))


def test_the_self_test_tries_the_heads(bundle: Path) -> None:
    checks = {check.name: check for check in run_self_test(PredictOptions(bundle=bundle, threads=1))}
    assert checks["trained heads"].passed and "survival" in checks["trained heads"].detail
