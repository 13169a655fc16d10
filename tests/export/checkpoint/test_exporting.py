"""From a checkpoint to a bundle, at small size: what is in it, what it computes, and that nothing half-made stays."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from haiku_edge.export.checkpoint import read_checkpoint
from haiku_edge.export.dataset import open_dataset
from haiku_edge.export.graph import compare
from haiku_edge.export.haiku import bundle_name, export_haiku
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.engine import Engine, open_tower
from haiku_edge.runtime.errors import (
    BundleContentError,
    CheckpointIncompleteError,
    CheckpointValueError,
    DiskFullError,
    OutputExistsError,
    OutputNotWritableError,
    PanelError,
)
from haiku_edge.runtime.inference.progress import Silent
from haiku_edge.runtime.notes import Tokenizer

from .conftest import SmallExport
from .made import ESM_NAMES, SMALL, vocabulary, write_atlas_folder, write_small_checkpoint

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def bundle(small_export: SmallExport) -> Bundle:
    return open_bundle(small_export.folder)


@pytest.fixture(scope="module")
def mif(bundle: Bundle) -> Engine:
    return open_tower(bundle, bundle.manifest.need_mif(), device="cpu")


@pytest.fixture(scope="module")
def text(bundle: Bundle) -> Engine:
    return open_tower(bundle, bundle.manifest.need_text(), device="cpu")


@pytest.fixture
def patches() -> np.ndarray:
    return RNG.integers(0, 200, (2, 4, 256, 256)).astype(np.uint8)


MARKERS = np.array([[1, 3, 5, 7], [2, 3, 4, 6]])


def test_the_bundle_says_what_it_is(bundle: Bundle, small_export: SmallExport) -> None:
    manifest = bundle.manifest
    assert manifest.name == "My-bundle"
    assert not manifest.synthetic
    assert "licence" in manifest.statement and "research use only" in manifest.statement
    assert manifest.need_mif().markers == ("DAPI", "PanCK", "PGP9_5", "CD3e", "CD8", "CD68", "HLA-DR")
    assert (manifest.he.mpp, manifest.he.tile_size, manifest.need_text().max_length) == (0.3775, 256, 200)
    assert manifest.atlas is None and manifest.calibration is None
    checkpoint = manifest.metrics["checkpoint"]
    assert isinstance(checkpoint, dict) and checkpoint["markers_with_a_learned_vector"] == ["DAPI", "PanCK"]
    state = (small_export.checkpoint / "haiku_state_dict.pt").read_bytes()
    assert checkpoint["sha256"] == hashlib.sha256(state).hexdigest()
    assert max(small_export.exported.differences.values()) < 1e-5


def test_no_path_of_the_machine_is_in_the_bundle(bundle: Bundle, small_export: SmallExport) -> None:
    words = [str(small_export.folder.parent), str(Path.cwd()), "site-packages", ".py\0"]
    for name in bundle.manifest.files:
        assert not [word for word in words if word.encode() in bundle.read(name)], name
    assert not [word for word in words if word in (small_export.folder / "bundle.json").read_text()]


def test_weights_lie_beside_the_graphs_and_graphs_need_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    for tower in (bundle.manifest.he, bundle.manifest.need_mif(), bundle.manifest.need_text()):
        (weights,) = tower.weights
        assert bundle.manifest.files[weights].size > bundle.manifest.files[tower.file].size
        with pytest.raises(BundleContentError):
            open_tower(bundle, tower.model_copy(update={"weights": ()}))


def test_golden_cases_are_what_this_machine_computes(bundle: Bundle) -> None:
    golden = dict(np.load(io.BytesIO(bundle.read(bundle.manifest.golden.file))))
    he = open_tower(bundle, bundle.manifest.he, device="cpu")
    assert np.allclose(he(tiles=golden["he_tiles"]), golden["he_vectors"], atol=1e-5)
    assert golden["mif_markers"][1, -1] == 0 and golden["attention_mask"].min() == 0
    assert np.abs(golden["he_vectors"][0] - golden["he_vectors"][1]).max() > 1e-3


def test_heads_are_folded_and_compute_what_batch_norm_does(small_export: SmallExport, bundle: Bundle) -> None:
    assert b"BatchNormalization" not in bundle.read(bundle.manifest.he.file)
    tower = read_checkpoint(small_export.checkpoint, sizes=SMALL).towers().he
    tiles = RNG.integers(0, 256, (2, 256, 256, 3)).astype(np.uint8)
    with torch.inference_mode():
        unfolded = tower(torch.from_numpy(tiles)).numpy()
    assert np.allclose(open_tower(bundle, bundle.manifest.he, device="cpu")(tiles=tiles), unfolded, atol=1e-5)


def test_the_order_of_channels_changes_nothing(mif: Engine, patches: np.ndarray) -> None:
    order = [2, 0, 3, 1]
    assert np.allclose(
        mif(patches=patches, markers=MARKERS), mif(patches=patches[:, order], markers=MARKERS[:, order]), atol=1e-6
    )


def test_padded_channels_change_nothing_whatever_is_in_them(mif: Engine, patches: np.ndarray) -> None:
    noise = RNG.integers(0, 256, (2, 3, 256, 256)).astype(np.uint8)
    wide = np.concatenate([patches, noise], axis=1)
    rows = np.concatenate([MARKERS, np.zeros((2, 3), np.int64)], axis=1)
    assert np.allclose(mif(patches=patches, markers=MARKERS), mif(patches=wide, markers=rows), atol=1e-6)


def test_a_patch_embeds_the_same_alone_and_in_a_batch(mif: Engine, patches: np.ndarray) -> None:
    alone = np.concatenate([mif(patches=patches[i : i + 1], markers=MARKERS[i : i + 1]) for i in range(2)])
    assert np.allclose(mif(patches=patches, markers=MARKERS), alone, atol=1e-6)


def test_a_brighter_channel_is_the_same_channel(mif: Engine) -> None:
    dark = RNG.integers(0, 80, (1, 4, 256, 256)).astype(np.uint8)
    bright = dark.copy()
    bright[:, 1] *= 3
    assert np.allclose(mif(patches=dark, markers=MARKERS[:1]), mif(patches=bright, markers=MARKERS[:1]), atol=1e-6)


def test_another_marker_or_another_picture_is_another_vector(mif: Engine, patches: np.ndarray) -> None:
    vectors = mif(patches=patches, markers=MARKERS)
    assert np.abs(vectors - mif(patches=patches, markers=MARKERS[::-1].copy())).max() > 1e-3
    assert np.abs(vectors - mif(patches=patches[::-1].copy(), markers=MARKERS)).max() > 1e-4


def test_padding_of_a_text_changes_nothing(text: Engine) -> None:
    ids = RNG.integers(5, 130, (1, 9))
    mask = np.ones((1, 9), np.int64)
    longer = np.concatenate([ids, RNG.integers(0, 130, (1, 191))], axis=1)
    kept = np.concatenate([mask, np.zeros((1, 191), np.int64)], axis=1)
    assert np.allclose(text(input_ids=ids, attention_mask=mask), text(input_ids=longer, attention_mask=kept), atol=1e-6)


def test_the_tokenizer_of_the_bundle_is_the_checkpoints(bundle: Bundle) -> None:
    tokenizer = Tokenizer.from_bytes(bundle.read(bundle.manifest.need_text().tokenizer), 200)
    assert tokenizer.encode("lung").input_ids.tolist() == [[2, vocabulary(130).index("lung"), 3]]


@pytest.mark.slow
def test_two_modalities_in_half_precision(tmp_path: Path, bundle: Bundle) -> None:
    """One export for both: without a text tower, and with matrices stored as fp16."""
    checkpoint = write_small_checkpoint(tmp_path / "bi", text=False)
    exported = export_haiku(checkpoint, tmp_path / "bundle", sizes=SMALL, storage="fp16", inline_below=0)
    half = open_bundle(tmp_path / "bundle")
    assert half.manifest.text is None and half.manifest.he.storage == "fp16"
    assert not [name for name in half.manifest.files if "text" in name or "tokenizer" in name]
    for name in ("towers/he.weights", "towers/mif.weights"):
        assert half.manifest.files[name].size < bundle.manifest.files[name].size
    tiles = RNG.integers(0, 256, (2, 256, 256, 3)).astype(np.uint8)
    one, other = (open_tower(held, held.manifest.he, device="cpu")(tiles=tiles) for held in (half, bundle))
    difference = np.abs(one - other).max()
    assert 0 < difference < 2e-3
    assert exported.differences.keys() == {"he", "mif"}


@pytest.mark.slow
def test_an_atlas_folder_becomes_the_bundles_evidence(small_export: SmallExport, tmp_path: Path) -> None:
    dataset = write_atlas_folder(tmp_path / "atlas")
    exported = export_haiku(small_export.checkpoint, tmp_path / "bundle", sizes=SMALL, atlas=dataset)
    bundle = open_bundle(tmp_path / "bundle")
    atlas = open_atlas(bundle)
    section = bundle.manifest.need_calibration()
    assert len(atlas.vectors) == bundle.manifest.need_atlas().patch_count == 12 - section.cases
    assert set(atlas.markers) == {"DAPI", "PanCK", "CD3e", "CD8", "CD68"}
    sample = next(sample for sample in open_dataset(dataset) if sample.patch == str(atlas.patches[0]))
    assert sample.mif is not None
    rows = {name: row for row, name in enumerate(bundle.manifest.need_mif().markers, start=1)}
    markers = np.array([[rows[name] for name in sample.markers]])
    engine = open_tower(bundle, bundle.manifest.need_mif(), device="cpu")
    assert np.allclose(engine(patches=sample.mif[None], markers=markers)[0], atlas.vectors[0], atol=1e-5)
    assert any("calibrate" in remark for remark in exported.remarks)
    assert leftovers(tmp_path) == ["atlas", "bundle"]


def test_an_atlas_of_unknown_markers_is_refused_before_the_work_begins(
    small_export: SmallExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_small_checkpoint(tmp_path / "few")
    values = json.loads((checkpoint / "config.json").read_text())
    state = torch.load(checkpoint / "haiku_state_dict.pt", weights_only=True)
    del state["codex_encoder.encoder.protein_emb.esm_embeddings.CD68"]
    torch.save(state, checkpoint / "haiku_state_dict.pt")
    values["esm_marker_names"] = [name for name in ESM_NAMES if name != "CD68"]
    (checkpoint / "config.json").write_text(json.dumps(values))
    dataset = write_atlas_folder(tmp_path / "atlas", patients=2)
    with pytest.raises(PanelError, match="CD68"):
        export_haiku(checkpoint, tmp_path / "bundle", sizes=SMALL, atlas=dataset)
    assert leftovers(tmp_path) == ["atlas", "few"]


def test_what_a_killed_export_left_is_cleared_and_what_a_running_one_uses_is_not(
    small_export: SmallExport, tmp_path: Path
) -> None:
    for name in (".bundle.dead.export", ".bundle.alive.export", ".other.dead.export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "he.weights").write_bytes(b"half")
    alive = os.open(tmp_path / ".bundle.alive.export", os.O_RDONLY)
    fcntl.flock(alive, fcntl.LOCK_EX)
    with pytest.raises(KeyboardInterrupt):
        export_haiku(small_export.checkpoint, tmp_path / "bundle", sizes=SMALL, progress=Interrupting("Exporting"))
    os.close(alive)
    assert leftovers(tmp_path) == [".bundle.alive.export", ".other.dead.export"]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_no_bundle_is_left_alone_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("precious")
    with pytest.raises(OutputExistsError):
        export_haiku(tmp_path / "no checkpoint", tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "precious"


def test_an_older_bundle_is_replaced_only_when_asked(tmp_path: Path) -> None:
    shutil.copytree(open_bundle(None).root, tmp_path / "bundle")
    with pytest.raises(OutputExistsError, match=r"already holds a bundle\. Pass --force"):
        export_haiku(tmp_path / "no checkpoint", tmp_path / "bundle")
    with pytest.raises(CheckpointIncompleteError):
        export_haiku(tmp_path / "no checkpoint", tmp_path / "bundle", force=True)
    assert open_bundle(tmp_path / "bundle").digest == open_bundle(None).digest


def test_a_refused_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    checkpoint = write_small_checkpoint(tmp_path / "in" / "haiku")
    state = torch.load(checkpoint / "haiku_state_dict.pt", weights_only=True)
    state["he_projection.2.weight"][0, 0] = float("nan")
    torch.save(state, checkpoint / "haiku_state_dict.pt")
    with pytest.raises(CheckpointValueError, match=r"he_projection\.2\.weight"):
        export_haiku(checkpoint, tmp_path / "out" / "bundle", sizes=SMALL)
    assert leftovers(tmp_path) == ["in"]


class Interrupting(Silent):
    """Stops the export as Ctrl-C does, when a stage begins: by default once a tower has been written."""

    def __init__(self, stage: str = "Comparing") -> None:
        self.stage = stage

    def start(self, stage: str, total: int | None = None) -> None:
        if stage.startswith(self.stage):
            raise KeyboardInterrupt


def test_an_interrupted_export_leaves_the_older_bundle_and_nothing_half_made(
    small_export: SmallExport, tmp_path: Path
) -> None:
    shutil.copytree(small_export.folder, tmp_path / "bundle")
    before = open_bundle(tmp_path / "bundle").digest
    with pytest.raises(KeyboardInterrupt):
        export_haiku(small_export.checkpoint, tmp_path / "bundle", sizes=SMALL, progress=Interrupting(), force=True)
    assert leftovers(tmp_path) == ["bundle"]
    assert open_bundle(tmp_path / "bundle").digest == before


@pytest.mark.slow
def test_a_graph_that_computes_something_else_does_not_ship(
    small_export: SmallExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "TOLERANCE", 0.0)
    with pytest.raises(BundleContentError, match="Do not ship it"):
        export_haiku(small_export.checkpoint, tmp_path / "bundle", sizes=SMALL)
    assert leftovers(tmp_path) == []


def test_a_disk_that_is_too_small_is_said_at_once(
    small_export: SmallExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(DiskFullError, match="--storage fp16"):
        export_haiku(small_export.checkpoint, tmp_path / "bundle", sizes=SMALL)
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_disk_that_fills_leaves_nothing(small_export: SmallExport, tmp_path: Path) -> None:
    """No file may grow past 64 KiB, as on a disk that fills."""
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from haiku_edge.export.haiku import export_haiku\n"
        "from haiku_edge.runtime.errors import DiskFullError\n"
        "from tests.export.checkpoint.made import SMALL\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (65536, {resource.RLIM_INFINITY}))\n"
        "try:\n    export_haiku(Path(sys.argv[1]), Path(sys.argv[2]), sizes=SMALL)\n"
        "except DiskFullError:\n    raise SystemExit(7)\n"
    )
    command = [sys.executable, "-c", code, str(small_export.checkpoint), str(tmp_path / "bundle")]
    root = Path(__file__).parents[3]
    ended = subprocess.run(command, capture_output=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert ended.returncode == 7, ended.stderr.decode()
    assert leftovers(tmp_path) == []


def test_a_place_that_can_not_be_written_is_said(small_export: SmallExport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputNotWritableError):
        export_haiku(small_export.checkpoint, tmp_path / "file" / "bundle", sizes=SMALL)


NAMES: list[tuple[str, str]] = [
    ("haiku", "haiku"),
    (".hidden", "hidden"),
    ("My bundle (2)", "My-bundle-2-"),
    ("俳句", "haiku"),
]


@pytest.mark.parametrize(("folder", "name"), NAMES)
def test_a_bundle_is_named_after_its_folder(folder: str, name: str) -> None:
    assert bundle_name(folder) == name


def test_progress_names_every_stage(small_export: SmallExport) -> None:
    stages = list(small_export.exported.seconds)
    assert stages[0] == "Reading the checkpoint" and stages[-1] == "Writing and verifying the bundle"
    assert [stage for stage in stages if stage.startswith("Exporting")] == [
        "Exporting the H&E tower",
        "Exporting the mIF tower",
        "Exporting the text tower",
    ]
