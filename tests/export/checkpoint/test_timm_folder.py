"""A timm folder is read as its maker wrote it; what is not built, missing or too much is refused with its name."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from haiku_edge.export.checkpoint import is_timm, read_timm
from haiku_edge.export.checkpoint.timm_folder import expected_weights
from haiku_edge.export.graph import trace_tower, write_graph
from haiku_edge.export.model import TileEncoderConfig, VitConfig, count_parameters
from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.errors import (
    CheckpointError,
    CheckpointIncompleteError,
    CheckpointLayoutError,
    CheckpointUnsafeError,
    CheckpointValueError,
)
from tests.export.model.vit_made import SMALL, images_of, state_of

from .made import PARITY, fill_module, write_small_checkpoint

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 3}
GATED = {**TINY, "img_size": 28, "patch_size": 7, "init_values": 1e-5}


def prepared(side: int, **fields: Any) -> dict[str, Any]:
    """A pretrained_cfg with what released ones say beside the five fields that matter."""
    return {
        "tag": "made",
        "custom_load": False,
        "input_size": [3, side, side],
        "fixed_input_size": False,
        "interpolation": "bilinear",
        "crop_pct": 1,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 0,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        **fields,
    }


UNI: dict[str, Any] = {
    "architecture": "vit_large_patch16_224",
    **TINY,
    "patch_size": 8,
    "img_size": 32,
    "init_values": 1.0,
    "num_classes": 0,
    "num_features": 24,
    "global_pool": "token",
    "dynamic_img_size": True,
    "pretrained_cfg": prepared(32),
}
"""As UNI's own file: the arguments stand beside the architecture."""

UNI2: dict[str, Any] = {
    "architecture": "vit_giant_patch14_224",
    "num_classes": 0,
    "model_args": {**GATED, "mlp_ratio": 5.33334, "reg_tokens": 8, "no_embed_class": True, "dynamic_img_size": True},
    "pretrained_cfg": prepared(28, interpolation="bicubic", crop_pct=0.9),
}
VIRCHOW2: dict[str, Any] = {
    "architecture": "vit_huge_patch14_224",
    "model_args": {**GATED, "mlp_ratio": 5.3375, "reg_tokens": 4, "global_pool": "", "num_classes": 0},
    "pretrained_cfg": prepared(28, interpolation="bicubic"),
}
RELEASED = {"scaled": UNI, "gated": UNI2, "pooled": VIRCHOW2}
"""The three published layouts, with the sizes of `vit_made.SMALL`."""


def small_state(name: str) -> dict[str, Tensor]:
    entries = expected_weights(TileEncoderConfig(SMALL[name], tile=SMALL[name].side))
    return state_of({key: entry.shape for key, entry in entries.items()})


def write(folder: Path, values: dict[str, Any], state: dict[str, Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def change(values: dict[str, Any], where: str, field: str, value: object) -> dict[str, Any]:
    """The file with one field set, or taken out (...); `where` is an inner object or empty."""
    changed: dict[str, Any] = json.loads(json.dumps(values))
    inner = changed[where] if where else changed
    inner.pop(field, None)
    if value is not ...:
        inner[field] = value
    return changed


@pytest.mark.parametrize("name", RELEASED)
def test_each_published_layout_is_read_as_the_network_that_wrote_it(tmp_path: Path, name: str) -> None:
    state = small_state(name)
    found = read_timm(write(tmp_path / name, RELEASED[name], state))
    assert found.config.vit == SMALL[name]
    assert found.parameters == count_parameters(found.encoder())
    with torch.no_grad():
        features = found.encoder().vit(images_of(SMALL[name].side))
    want = json.loads((Path(__file__).parents[1] / "model/timm_features.json").read_text())["cases"][name]["features"]
    torch.testing.assert_close(features, torch.tensor(want), atol=1e-5, rtol=1e-5)


def test_a_tile_is_prepared_as_the_file_says(tmp_path: Path) -> None:
    folder = write(tmp_path, UNI2, small_state("gated"))
    found = read_timm(folder, mpp=0.25, tile=56).config
    assert (found.tile, found.mpp, found.scaled, found.interpolation) == (56, 0.25, 31, "bicubic")
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    whole = read_timm(write(tmp_path, VIRCHOW2, small_state("pooled"))).config
    assert (whole.tile, whole.mpp, whole.scaled) == (28, 0.5, None)


def test_safetensors_are_taken_where_both_are_there(tmp_path: Path) -> None:
    folder = write(tmp_path, UNI, {})
    save_file(small_state("scaled"), folder / "model.safetensors")
    assert read_timm(folder).files == (folder.resolve() / "model.safetensors",)


def test_what_the_weights_alone_tell_is_remarked(tmp_path: Path) -> None:
    assert "SwiGLUPacked" in read_timm(write(tmp_path / "silent", UNI2, small_state("gated"))).remarks[0]
    told = change(change(UNI2, "model_args", "mlp_layer", "SwiGLUPacked"), "model_args", "act_layer", "torch.nn.SiLU")
    assert read_timm(write(tmp_path / "told", told, small_state("gated"))).remarks == ()
    assert read_timm(write(tmp_path / "plain", UNI, small_state("scaled"))).remarks == ()


def test_provenance_names_the_file_and_not_the_machine(tmp_path: Path) -> None:
    said = json.dumps(read_timm(write(tmp_path, UNI, small_state("scaled"))).provenance())
    assert "vit_large_patch16_224" in said and "pytorch_model.bin" in said
    assert str(tmp_path) not in said


@pytest.mark.parametrize(
    ("where", "field", "value", "said"),
    [
        ("", "architecture", "resnet50", "architecture 'resnet50'"),
        ("", "architecture", ..., "architecture None"),
        ("", "pretrained_cfg", ..., "lacks the field pretrained_cfg"),
        ("", "num_features", 25, "num_features 25"),
        ("", "num_classes", 7, "classifier of 7"),
        ("", "model_args", {"qk_norm": True}, "qk_norm True"),
        ("", "model_args", {"patch_size": 16}, "patch_size twice"),
        ("", "model_args", {"rope": 1, "attn_layer": "diff"}, "'attn_layer', 'rope'"),
        ("", "model_args", [], "model_args that is no object"),
        ("", "in_chans", 4, "in_chans 4"),
        ("", "class_token", False, "class_token False"),
        ("", "global_pool", "avg", "global_pool 'avg'"),
        ("", "mlp_layer", "GluMlp", "mlp_layer 'GluMlp'"),
        ("", "act_layer", "quick_gelu", "act_layer 'quick_gelu'"),
        ("", "depth", 0, "depth that is no size"),
        ("", "depth", 100_000, "depth that is no size"),
        ("", "num_heads", 5, "multiple of 5 heads"),
        ("", "patch_size", 5, "do not fit a side of 32"),
        ("", "img_size", 64, "img_size 64"),
        ("", "mlp_ratio", "4", "mlp_ratio that is no number"),
        ("", "qkv_bias", 1, "qkv_bias that is neither"),
        ("pretrained_cfg", "input_size", [3, 32, 48], "input_size"),
        ("pretrained_cfg", "interpolation", "nearest", "interpolation 'nearest'"),
        ("pretrained_cfg", "interpolation", ..., "lacks the field interpolation"),
        ("pretrained_cfg", "crop_pct", ..., "lacks the field crop_pct"),
        ("pretrained_cfg", "crop_pct", 1.5, "crop_pct 1.5"),
        ("pretrained_cfg", "crop_mode", "border", "crop_mode 'border'"),
        ("pretrained_cfg", "mean", [0.5], "field mean"),
        ("pretrained_cfg", "std", [0.5, 0.0, 0.5], "field std"),
        ("pretrained_cfg", "std", [0.5, float("nan"), 0.5], "field std"),
    ],
)
def test_what_is_not_built_is_refused_by_name(tmp_path: Path, where: str, field: str, value: object, said: str) -> None:
    folder = write(tmp_path, change(UNI, where, field, value), small_state("scaled"))
    with pytest.raises(CheckpointLayoutError) as caught:
        read_timm(folder)
    assert said in str(caught.value)
    assert str(caught.value).startswith("config.json of the checkpoint ")


def test_a_plain_layer_asked_for_with_gated_weights_is_refused(tmp_path: Path) -> None:
    values = change(UNI2, "model_args", "mlp_layer", "Mlp")
    with pytest.raises(CheckpointLayoutError, match="those of a SwiGLUPacked"):
        read_timm(write(tmp_path, values, small_state("gated")))


def drop(key: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: state.__delitem__(key)


def put(key: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: state.update({key: tensor})


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (drop("blocks.1.ls2.gamma"), CheckpointLayoutError, ("1 missing", "blocks.1.ls2.gamma")),
        (put("head.weight", torch.zeros(5, 24)), CheckpointLayoutError, ("1 unexpected", "head.weight")),
        (put("reg_token", torch.zeros(1, 4, 24)), CheckpointLayoutError, ("1 unexpected", "reg_token")),
        (
            put("pos_embed", torch.zeros(1, 50, 24)),
            CheckpointLayoutError,
            ("of another shape", "pos_embed is 1 × 50 × 24, not 1 × 17 × 24"),
        ),
        (
            put("cls_token", torch.zeros(1, 1, 24).half()),
            CheckpointLayoutError,
            ("of another type", "cls_token is float16, not float32"),
        ),
        (put("norm.bias", torch.full((24,), float("nan"))), CheckpointValueError, ("NaN", "norm.bias")),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, spoil: Callable[[dict[str, Tensor]], None], kind: type[CheckpointError], said: tuple[str, ...]
) -> None:
    state = small_state("scaled")
    spoil(state)
    with pytest.raises(kind) as caught:
        read_timm(write(tmp_path, UNI, state))
    assert all(part in str(caught.value) for part in said)


class Trap:
    """Would make a folder if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (Path("sprung"),)


def test_no_code_of_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "trap", UNI, {"cls_token": Trap()})  # type: ignore[dict-item]
    with pytest.raises(CheckpointUnsafeError, match="pickled"):
        read_timm(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("missing", ["config.json", "pytorch_model.bin"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = write(tmp_path, UNI, small_state("scaled"))
    (folder / missing).unlink()
    with pytest.raises(CheckpointIncompleteError, match=missing):
        read_timm(folder)


def test_a_timm_folder_is_told_from_others(tmp_path: Path) -> None:
    assert is_timm(write(tmp_path / "timm", UNI, {}))
    assert not is_timm(write_small_checkpoint(tmp_path / "haiku"))
    assert not is_timm(tmp_path / "nowhere")


def relative(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.slow
def test_a_full_size_uni_folder_becomes_a_graph_that_computes_the_same(tmp_path: Path) -> None:
    if not PARITY.is_dir():
        pytest.skip("the parity fixtures (../shared/parity) are not here")
    if shutil.disk_usage(tmp_path).free < 4e9:
        pytest.skip("a full-size checkpoint and its graph need 4 GB of disk")
    fill = fill_module().fill
    entries = expected_weights(TileEncoderConfig(VitConfig()))
    state = {key: torch.from_numpy(np.asarray(fill(key, entry.shape))) for key, entry in entries.items()}
    sizes = {"architecture": "vit_large_patch16_224", "init_values": 1e-5, "pretrained_cfg": prepared(224)}
    folder = write(tmp_path / "uni", sizes, state)
    del state
    found = read_timm(folder)
    assert found.parameters == 303_350_784
    encoder = found.encoder()
    files = write_graph(encoder, trace_tower(encoder), tmp_path, "he")
    gc.collect()
    tiles = np.load(PARITY / "haiku" / "inputs.npz")["he"][:, 16:240, 16:240]
    with torch.inference_mode():
        want = encoder(torch.from_numpy(np.ascontiguousarray(tiles))).numpy()
    got = plain_engine(files.graph.read_bytes(), weights=files.read_weights())(tiles=tiles)
    assert got.shape == (2, 1024)
    assert relative(got, want) < 1e-5
