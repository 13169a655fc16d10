"""What `train haiku` left in its folder becomes a bundle, or is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from haiku_edge.export.checkpoint import read_trained
from haiku_edge.export.haiku import export_haiku
from haiku_edge.export.model import HeConfig, MifConfig, TextConfig, Towers, TowersConfig, build_towers, save_towers
from haiku_edge.export.training import train_tokenizer
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.engine import choose_engine, open_tower
from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError, CheckpointValueError, UsageError

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
    assert choose_engine(bundle.read(manifest.need_text().file), device="cpu").spec.dimension == 24


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
