"""`haiku-edge export distill` from slides to a prediction, and what it refuses before any work."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from haiku_edge.export.distill import slide_groups
from haiku_edge.export.synthetic import write_svs
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.slide import open_slide
from tests.conftest import Run
from tests.export.distill.painted_tiles import paint_tile


def painted_slide(path: Path, seed: int) -> None:
    """An SVS of 768 × 768 px: nine painted tiles in a margin of glass."""
    image = np.full((1280, 1280, 3), 243, np.uint8)
    rows = [
        np.concatenate([paint_tile(100 * seed + 3 * row + column, seed) for column in range(3)], 1) for row in range(3)
    ]
    image[256:1024, 256:1024] = cv2.GaussianBlur(np.concatenate(rows, 0), (0, 0), 0.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_svs(path, image, mpp=0.5)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides of one patient, and one of another."""
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate(("anna/one.svs", "anna/two.svs", "b.svs")):
        painted_slide(folder / name, seed)
    return folder


def test_slides_of_a_sub_folder_are_of_one_patient_and_tiles_are_the_readers(slides: Path) -> None:
    tower = open_bundle(None).manifest.he
    groups = slide_groups(slides, tower, 4, print)
    assert [(group.patient, group.slide) for group in groups] == [
        ("anna", "one.svs"), ("anna", "two.svs"), ("b", "b.svs"),
    ]  # fmt: skip
    assert len({group.key for group in groups}) == 3
    tiles = groups[2].read()
    assert tiles.shape == (4, 256, 256, 3) and tiles.std() > 5
    slide = open_slide(slides / "b.svs")
    assert slide.info.resolution.mean == pytest.approx(tower.mpp)
    slide.close()


def test_a_wrong_call_is_refused_with_one_message(haiku_edge: Run, slides: Path, tmp_path: Path) -> None:
    root = open_bundle(None).root
    calls = {
        2: ["--slides", slides, "--dataset", slides],
        81: ["--slides", tmp_path / "nowhere"],
    }
    for code, given in calls.items():
        done = haiku_edge("export", "distill", root, *given, "--out", tmp_path / "out")
        assert done.returncode == code and done.stderr.count("Error:") == 1 and "Traceback" not in done.stderr
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "b.svs").write_bytes((slides / "b.svs").read_bytes())
    done = haiku_edge("export", "distill", root, "--slides", tmp_path / "one", "--out", tmp_path / "out")
    assert done.returncode == 84 and "one slide or patient" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one"]


@pytest.mark.slow
def test_from_slides_to_a_student_that_predicts(
    haiku_edge: Run, slides: Path, small_slide: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    done = haiku_edge(
        "export", "distill", open_bundle(None).root, "--slides", slides, "--out", out, "--preset", "embedded",
        "--steps", 20, "--batch", 8, "--views", 2, "--kind", "vit-s", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "student-vit-s" in done.stdout and "no intervals" in done.stdout and (tmp_path / "bundle.distill").is_dir()
    told = " ".join(haiku_edge("bundle", "info", out).stdout.split())
    assert "student-vit-s towers/student-vit-s.onnx" in told and "no intervals" in told
    done = haiku_edge(
        "predict", small_slide, "--bundle", out, "--device", "cpu", "--json", "--out", tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["device"]["tower"] == "student-vit-s" and "small tower (vit-s)" in done.stderr
