"""At full size: what the published reference implementation computes, on weights that anyone can make again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from haiku_edge.export.checkpoint import HaikuCheckpoint, expected_layout, read_checkpoint
from haiku_edge.export.model import Towers, published_config
from haiku_edge.export.model.musk import normalise
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.engine import open_tower
from tests.conftest import Run

from .conftest import FullBundle
from .made import PARITY, SHARED

SLIDE = SHARED / "data" / "svs" / "CMU-1-Small-Region.svs"

CHECKPOINT_BYTES = 3_236_000_000
PROBE = slice(None, None, 16)

Arrays = dict[str, NDArray[np.float32]]


def relative(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    """Largest difference, as a share of the largest value."""
    return float(np.abs(got - want).max() / np.abs(want).max())


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return dict(np.load(PARITY / "haiku" / "inputs.npz"))


@pytest.fixture(scope="module")
def expected() -> Arrays:
    return dict(np.load(PARITY / "haiku" / "expected.npz"))


@pytest.fixture(scope="module")
def panels(full_checkpoint: Path) -> list[NDArray[np.int64]]:
    """Rows of the marker table of the two mIF patches."""
    rows = {name: row for row, name in enumerate(read_checkpoint(full_checkpoint).markers, start=1)}
    meta = json.loads((PARITY / "haiku" / "meta.json").read_text())
    return [np.array([rows[name] for name in panel]) for panel in meta["channels"]]


@pytest.fixture(scope="module")
def checkpoint(full_checkpoint: Path) -> HaikuCheckpoint:
    return read_checkpoint(full_checkpoint)


@pytest.fixture(scope="module")
def towers(checkpoint: HaikuCheckpoint) -> Towers:
    return checkpoint.towers()


def padded(inputs: dict[str, np.ndarray], panels: list[NDArray[np.int64]]) -> tuple[np.ndarray, np.ndarray]:
    """Both patches in one batch: the smaller panel ends in channels that are none."""
    patches, markers = np.zeros((2, 8, 256, 256), np.uint8), np.zeros((2, 8), np.int64)
    for row, panel in enumerate(panels):
        patches[row, : len(panel)], markers[row, : len(panel)] = inputs[f"mif_{row}"], panel
    return patches, markers


def test_the_computed_layout_is_the_released_one() -> None:
    if not PARITY.is_dir():
        pytest.skip("the parity fixtures (../shared/parity) are not here")
    meta = json.loads((PARITY / "haiku" / "meta.json").read_text())
    released = json.loads((PARITY / "haiku" / "state_dict_layout.json").read_text())
    esm, learned = tuple(meta["esm_markers"]), tuple(meta["learnable_markers"])
    computed = expected_layout(published_config(len(esm + learned)), esm, learned)
    assert {key: ([*entry.shape], entry.dtype) for key, entry in computed.items()} == {
        key: (entry["shape"], entry["dtype"]) for key, entry in released.items()
    }


@pytest.mark.slow
def test_the_checkpoint_reads_whole_and_has_the_published_number_of_parameters(checkpoint: HaikuCheckpoint) -> None:
    assert len(checkpoint.state) == 1475
    assert round(checkpoint.parameters / 1e6, 1) == 808.8
    assert len(checkpoint.markers) == 123
    assert checkpoint.remarks == ()


@pytest.mark.slow
@torch.inference_mode()
def test_he_tower_is_the_reference_at_every_stage(
    towers: Towers, inputs: dict[str, np.ndarray], expected: Arrays
) -> None:
    tower = towers.he
    resized = tower.resize(torch.from_numpy(inputs["he"]).float())
    assert relative(normalise(resized).numpy()[:, :, PROBE, PROBE], expected["he_preprocessed_probe"]) < 1e-5
    encoded = tower.encode(resized)
    assert relative(encoded.numpy(), expected["he_backbone"]) < 1e-5
    assert relative(tower.head(encoded).numpy(), expected["he_projected"]) < 1e-5


@pytest.mark.slow
@torch.inference_mode()
def test_mif_tower_is_the_reference_at_every_stage_for_each_panel(
    towers: Towers, inputs: dict[str, np.ndarray], expected: Arrays, panels: list[NDArray[np.int64]]
) -> None:
    for row, panel in enumerate(panels):
        prepared = towers.mif.standardise(torch.from_numpy(inputs[f"mif_{row}"][None]))
        probe = expected[f"mif_preprocessed_probe_{row}"]
        assert relative(prepared.numpy()[0][:, PROBE, PROBE], probe) < 1e-5
        encoded = towers.mif.encode(prepared, torch.from_numpy(panel[None]))
        assert relative(encoded.numpy()[0], expected["mif_backbone"][row]) < 1e-5
        assert relative(towers.mif.head(encoded).numpy()[0], expected["mif_projected"][row]) < 1e-5


@pytest.mark.slow
@torch.inference_mode()
def test_text_tower_is_the_reference_at_every_stage(
    towers: Towers, inputs: dict[str, np.ndarray], expected: Arrays
) -> None:
    assert towers.text is not None
    ids, mask = (torch.from_numpy(inputs[name].astype(np.int64)) for name in ("input_ids", "attention_mask"))
    encoded = towers.text.encode(ids, mask)
    assert relative(encoded.numpy(), expected["text_backbone"]) < 1e-5
    assert relative(towers.text.head(encoded).numpy(), expected["text_projected"]) < 1e-5


@pytest.mark.slow
def test_exported_graphs_are_the_reference(
    full_bundle: FullBundle,
    inputs: dict[str, np.ndarray],
    expected: Arrays,
    panels: list[NDArray[np.int64]],
) -> None:
    bundle = open_bundle(full_bundle.folder)
    manifest = bundle.manifest
    text = {name: inputs[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
    patches, markers = padded(inputs, panels)
    given = {
        "text": (manifest.need_text(), text),
        "mif": (manifest.need_mif(), {"patches": patches, "markers": markers}),
        "he": (manifest.he, {"tiles": inputs["he"]}),
    }
    for name, (tower, arrays) in given.items():
        engine = open_tower(bundle, tower, device="cpu")
        assert relative(engine(**arrays), unit(expected[f"{name}_projected"])) < 1e-5, name
        if name == "text":
            short = {key: array[1:, :37] for key, array in arrays.items()}
            assert relative(engine(**short), unit(expected["text_projected"][1:])) < 1e-5
        del engine


@pytest.mark.slow
def test_an_export_needs_less_memory_than_two_checkpoints(full_bundle: FullBundle) -> None:
    assert full_bundle.peak_bytes < 2 * CHECKPOINT_BYTES
    assert max(full_bundle.differences.values()) < 1e-5


@pytest.mark.slow
def test_large_towers_keep_their_weights_beside_the_graph(full_bundle: FullBundle) -> None:
    manifest = open_bundle(full_bundle.folder).manifest
    assert manifest.he.weights == ("towers/he.weights",)
    assert manifest.files["towers/he.weights"].size > 1.2e9
    assert manifest.files["towers/he.onnx"].size < 1 << 20
    assert manifest.synthetic is False and manifest.need_atlas().patch_count == 4


@pytest.mark.slow
def test_full_size_towers_predict_on_a_real_slide(full_bundle: FullBundle, haiku_edge: Run, tmp_path: Path) -> None:
    """The weights are random, so only that it runs, and what it takes. A finer resolution than the slide's own is
    claimed, which leaves some 30 tiles of the 150."""
    if not SLIDE.is_file():
        pytest.skip("the slides (../shared/data/svs) are not here")
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({"tissue_type": "Lung", "disease": "Lung cancer", "stage": "IIIA"}))
    options = ("--clinical", notes, "--bundle", full_bundle.folder, "--mpp", "0.25", "--out", tmp_path / "out")
    ended = haiku_edge("predict", SLIDE, *options, timeout=3000)
    assert ended.returncode == 0, ended.stderr
    (result,) = (tmp_path / "out").glob("*/result.json")
    document = json.loads(result.read_text())
    assert document["bundle"]["digest"] == open_bundle(full_bundle.folder).digest
    tiles = pq.read_table(result.with_name("tiles.parquet"))
    assert 10 < len(tiles) < 60
