"""Bundles that lack a part: what they still do, what they refuse, and what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.cli.bundle import run_info
from haiku_edge.runtime.bundle import bundle_info, open_bundle
from haiku_edge.runtime.errors import BundleContentError
from haiku_edge.runtime.inference import PredictOptions, predict
from haiku_edge.runtime.inference.batching import LARGE, LARGE_TOWER_BYTES, SMALL, batching, tower_bytes
from haiku_edge.runtime.inference.self_test import run_self_test
from tests.runtime.inference.bundles import rewrite


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rewrite(tmp_path_factory.mktemp("uncalibrated") / "bundle", calibration=None)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Towers and golden cases, and nothing else: what an export without an atlas writes."""
    return rewrite(tmp_path_factory.mktemp("bare") / "bundle", atlas=None, calibration=None)


@pytest.fixture(scope="module")
def two_towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rewrite(tmp_path_factory.mktemp("two") / "bundle", text=None)


def test_without_calibration_nothing_has_an_interval_and_nothing_abstains(
    uncalibrated: Path, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    run = predict(small_slide, notes, PredictOptions(bundle=uncalibrated, out=tmp_path / "without"))
    whole = predict(small_slide, notes, PredictOptions(out=tmp_path / "with"))
    result = run.result
    assert result.calibration is None
    assert result.tiles.abstained == 0
    assert any("no intervals" in warning for warning in result.warnings)
    for row in result.biomarkers:
        assert row.low is None and row.high is None and row.without_notes.low is None
        assert row.value is None or "calibration" in row.reason
    assert all(item.percentile is None for item in result.evidence)
    said = np.array(whole.tiles["status"].to_pylist()) == "predicted"
    for row in result.biomarkers:
        one, other = (t[row.marker].to_numpy(zero_copy_only=False)[said] for t in (run.tiles, whole.tiles))
        assert one == pytest.approx(other, nan_ok=True)
    page = (run.folder / "report.html").read_text()
    words = re.sub(r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]+", "", page)
    assert "there is no interval" in words and "None" not in words
    assert run.tiles["percentile"].null_count == len(run.tiles)


def test_without_an_atlas_predict_refuses_before_it_looks_at_the_slide(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleContentError, match="atlas add"):
        predict(tmp_path / "no-such-slide.svs", None, PredictOptions(bundle=bare, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_without_a_text_tower_notes_are_refused_and_the_image_suffices(
    two_towers: Path, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleContentError, match="text tower"):
        predict(small_slide, notes, PredictOptions(bundle=two_towers, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    result = predict(small_slide, None, PredictOptions(bundle=two_towers, out=tmp_path / "out")).result
    assert any(row.low is not None for row in result.biomarkers)


@pytest.mark.parametrize("part", ["uncalibrated", "bare", "two_towers"])
def test_the_self_test_tries_what_is_there(part: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(part)
    checks = {check.name: check for check in run_self_test(PredictOptions(bundle=folder, threads=1))}
    assert all(check.passed for check in checks.values())
    assert ("text tower" in checks) == (part != "two_towers")
    assert ("none" in checks.get("atlas", checks["H&E tower"]).detail) == (part == "bare")
    assert ("calibration" in checks) == (part == "uncalibrated")


@pytest.mark.parametrize("part", ["uncalibrated", "bare", "two_towers"])
def test_info_tells_what_is_not_there(
    part: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = request.getfixturevalue(part)
    info = bundle_info(open_bundle(folder))
    assert (info["atlas"] is None) == (part == "bare")
    assert (info["towers"]["text"] is None) == (part == "two_towers")
    assert (info["calibration"] is None) == (part != "two_towers")
    run_info(folder, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(info))
    run_info(folder, as_json=False)
    assert "none" in capsys.readouterr().out


def test_golden_cases_that_lack_a_tower_are_refused(tmp_path: Path) -> None:
    bundle = open_bundle(None)
    golden = bundle.manifest.golden.file
    np.savez(tmp_path / "golden.npz", he_tiles=np.zeros((1, 256, 256, 3), np.uint8), he_vectors=np.ones((1, 128)))
    folder = rewrite(tmp_path / "bundle", {golden: (tmp_path / "golden.npz").read_bytes()})
    with pytest.raises(BundleContentError, match="input_ids"):
        run_self_test(PredictOptions(bundle=folder))


def test_large_towers_are_fed_few_tiles_at_a_time(tmp_path: Path) -> None:
    bundle = open_bundle(None)
    assert tower_bytes(bundle, bundle.manifest.he) < LARGE_TOWER_BYTES and batching(bundle) == SMALL
    heavy = bundle.manifest.he.model_copy(update={"weights": ("towers/he.bin",)})
    files = {"towers/he.bin": bytes(LARGE_TOWER_BYTES)}
    assert batching(open_bundle(rewrite(tmp_path / "large", files, he=heavy))) == LARGE
