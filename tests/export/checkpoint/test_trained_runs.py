"""What `train haiku` left in its folder becomes a bundle, or is refused by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from haiku_edge.export.checkpoint import read_trained
from haiku_edge.export.haiku import export_haiku
from haiku_edge.export.model import HeConfig, MifConfig, TextConfig, Towers, TowersConfig, build_towers, save_towers
from haiku_edge.export.training import train_tokenizer
from haiku_edge.runtime.bundle import open_bundle, read_known_patients
from haiku_edge.runtime.engine import open_tower, plain_engine
from haiku_edge.runtime.errors import (
    CheckpointIncompleteError,
    CheckpointLayoutError,
    CheckpointValueError,
    CohortError,
    UsageError,
)
from tests.export.training.paired_patches import write

MARKERS = ("DAPI", "CD8", "PanCK")


@pytest.fixture(scope="module")
def towers() -> Towers:
    he = HeConfig(side=32, stem=(), patch=16, width=16, hidden=32, heads=2, layers=1)
    mif = MifConfig(markers=3, marker_width=8, width=16, hidden=32, heads=2, blocks="hv")
    text = TextConfig(vocabulary=400, length=40, positions=40, width=16, hidden=32, heads=2, layers=1)
    built = build_towers(TowersConfig(24, he, mif, text), seed=2)
    built.train(False)
    return built


@pytest.fixture
def run(towers: Towers, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    save_towers(towers, folder / "towers")
    (folder / "tokenizer").mkdir()
    texts = ["lung cancer stage two", "a sample of colon tissue", "age: 61, sex: female"] * 9
    (folder / "tokenizer" / "tokenizer.json").write_bytes(train_tokenizer(texts))
    (folder / "run.json").write_text(json.dumps({"markers": MARKERS, "mpp": 0.5, "steps": 12}))
    return folder


def test_a_training_becomes_a_bundle_that_embeds_as_its_towers_do(run: Path, towers: Towers, tmp_path: Path) -> None:
    exported = export_haiku(run, tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    manifest = bundle.manifest
    assert manifest.he.mpp == manifest.need_mif().mpp == 0.5
    assert manifest.need_mif().markers == MARKERS
    assert "licensed" not in manifest.statement and not manifest.synthetic
    assert exported.manifest.metrics["checkpoint"]["batches"] == 12
    tiles = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    with torch.no_grad():
        want = towers.he(torch.from_numpy(tiles)).numpy()
    np.testing.assert_allclose(open_tower(bundle, manifest.he, device="cpu")(tiles=tiles), want, atol=1e-5)
    assert plain_engine(bundle.read(manifest.need_text().file)).spec.dimension == 24


def test_what_is_missing_or_broken_is_named(run: Path, towers: Towers) -> None:
    (run / "run.json").write_text(json.dumps({"markers": MARKERS[:2], "mpp": 0.5, "steps": 12}))
    with pytest.raises(CheckpointLayoutError, match="2 markers"):
        read_trained(run)
    (run / "run.json").write_text(json.dumps({"markers": MARKERS, "mpp": 0.5, "steps": 12}))
    state = towers.he.state_dict() | {"head.first.bias": torch.full((24,), torch.nan)}
    torch.save(state, run / "towers" / "he.pt")
    with pytest.raises(CheckpointValueError, match="he tower"):
        read_trained(run)
    (run / "towers" / "he.pt").write_bytes((run / "towers" / "mif.pt").read_bytes()[:999])
    with pytest.raises(CheckpointIncompleteError, match="no finished towers"):
        read_trained(run)


def test_new_markers_by_a_vector_are_for_released_checkpoints_only(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train again"):
        export_haiku(run, tmp_path / "bundle", markers=["New=vector.npy"])
    assert not (tmp_path / "bundle").exists()


def _digests(*names: str) -> list[str]:
    return sorted(hashlib.sha256(name.encode()).hexdigest() for name in names)


def test_whom_a_training_learned_from_goes_with_its_bundle(run: Path, tmp_path: Path) -> None:
    stated = {"train": _digests("P1", "P2"), "held_out": _digests("P3")}
    (run / "towers" / "patients.json").write_text(json.dumps({"complete": True, **stated}))
    manifest = export_haiku(run, tmp_path / "bundle").manifest
    assert manifest.training is not None
    assert (manifest.training.patients, manifest.training.held_out, manifest.training.complete) == (2, 1, True)
    known = read_known_patients(open_bundle(tmp_path / "bundle"))
    assert (list(known.train), list(known.held_out)) == (stated["train"], stated["held_out"])


def test_a_training_that_is_not_done_names_its_patients_in_its_account(run: Path) -> None:
    assert not read_trained(run).known
    account = json.loads((run / "run.json").read_text())
    account["patient_digests"] = {"train": _digests("P1"), "held_out": []}
    (run / "run.json").write_text(json.dumps(account))
    known = read_trained(run).known
    assert known.among(["P1", "P2"]) == ("P1",) and not known.complete


def test_patients_that_can_not_be_read_are_refused_rather_than_forgotten(run: Path) -> None:
    (run / "towers" / "patients.json").write_text(json.dumps({"train": ["P1"], "held_out": []}))
    with pytest.raises(CheckpointLayoutError, match=r"patients\.json"):
        read_trained(run)


def test_a_patient_who_was_trained_on_does_not_calibrate(run: Path, tmp_path: Path) -> None:
    made = write(tmp_path / "pairs", roles={"P1": "calibration", "P2": "calibration"})
    (run / "towers" / "patients.json").write_text(json.dumps({"train": _digests("P0", "P2"), "held_out": []}))
    with pytest.raises(CohortError, match=r"^1 calibration patients .* P2"):
        export_haiku(run, tmp_path / "bundle", atlas=made)
    assert not (tmp_path / "bundle").exists()
    made = write(tmp_path / "others", roles={"P1": "calibration"})
    exported = export_haiku(run, tmp_path / "bundle", atlas=made)
    assert "2 of 5 evidence patients of pairs were also trained on." in exported.remarks
    assert exported.manifest.calibration is not None and exported.manifest.calibration.patients == 1
