"""A checkpoint as released is read; anything else is refused with the reason, and no code of it runs."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from haiku_edge.export.checkpoint import HaikuCheckpoint, read_checkpoint, read_state
from haiku_edge.runtime.errors import (
    CheckpointError,
    CheckpointIncompleteError,
    CheckpointLayoutError,
    CheckpointUnsafeError,
    CheckpointValueError,
)
from haiku_edge.runtime.notes import Tokenizer

from .made import ESM_NAMES, LEARNED_NAMES, SMALL, small_values, write_small_checkpoint

KEY = "he_encoder.encoder.vision_head.weight"
STATE = "haiku_state_dict.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small_checkpoint(tmp_path / "haiku")


def read(folder: Path) -> HaikuCheckpoint:
    return read_checkpoint(folder, sizes=SMALL)


def change_state(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Save the state again as `change` leaves or returns it."""
    state = torch.load(folder / STATE, weights_only=True)
    changed = change(state)
    torch.save(state if changed is None else changed, folder / STATE)


def change_config(folder: Path, **fields: Any) -> None:
    values = json.loads((folder / "config.json").read_text())
    values.update(fields)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def test_a_released_folder_is_read_and_its_towers_hold_its_weights(folder: Path) -> None:
    checkpoint = read(folder)
    towers = checkpoint.towers()
    assert np.array_equal(towers.he.encoder.vision_head.weight.detach().numpy(), small_values(KEY, (32, 32)))
    assert set(checkpoint.markers) == {*ESM_NAMES, *LEARNED_NAMES}
    assert checkpoint.remarks == ()


def test_markers_stand_in_the_published_vocabularys_order_each_with_its_own_vector(folder: Path) -> None:
    checkpoint = read(folder)
    assert checkpoint.markers == ("DAPI", "PanCK", "PGP9_5", "CD3e", "CD8", "CD68", "HLA-DR")
    vectors = checkpoint.towers().mif.encoder.marker_table.vectors
    for row, name in enumerate(checkpoint.markers):
        source = "learnable" if name in LEARNED_NAMES else "esm"
        key = f"codex_encoder.encoder.protein_emb.{source}_embeddings.{name}"
        assert np.array_equal(vectors[row].detach().numpy(), small_values(key, (12,)))


def test_a_name_with_a_dot_is_the_name_with_an_underscore(folder: Path) -> None:
    change_config(
        folder, esm_marker_names=["CD3e", "CD8", "CD68", "HLA-DR", "PGP9.5"], known_markers=["DAPI", "PGP9.5", "PanCK"]
    )
    assert read(folder).markers == ("DAPI", "PanCK", "PGP9_5", "CD3e", "CD8", "CD68", "HLA-DR")


def test_the_sibling_of_two_modalities_is_read(tmp_path: Path) -> None:
    checkpoint = read(write_small_checkpoint(tmp_path / "bi", text=False))
    assert checkpoint.tokenizer is None
    assert checkpoint.towers().text is None


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 24},
    "module.": lambda state: {f"module.{key}": value for key, value in state.items()},
    "both": lambda state: {"model_state_dict": {f"module.{key}": value for key, value in state.items()}},
    "tuple": lambda state: (state, {"lr": 1e-5}, 3),
    "position_ids": lambda state: {
        **state,
        "text_encoder.text_encoder.embeddings.position_ids": torch.arange(512)[None],
    },
    "parameters": lambda state: {
        key: torch.nn.Parameter(value) if value.is_floating_point() else value for key, value in state.items()
    },
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_known_wrappers_change_nothing(folder: Path, wrapping: str) -> None:
    plain = read(folder).state
    plain = {key: value.clone() for key, value in plain.items()}
    change_state(folder, WRAPPED[wrapping])
    state = read(folder).state
    assert state.keys() == plain.keys()
    assert all(torch.equal(state[key], value) for key, value in plain.items())


def test_safetensors_are_read_where_they_alone_are_there(folder: Path) -> None:
    plain = {key: value.clone() for key, value in read(folder).state.items()}
    (folder / STATE).unlink()
    save_file(plain, folder / "haiku_state_dict.safetensors")
    state = read(folder).state
    assert all(torch.equal(state[key], value) for key, value in plain.items())
    whole = (folder / "haiku_state_dict.safetensors").read_bytes()
    (folder / "haiku_state_dict.safetensors").write_bytes(whole[:-100])
    with pytest.raises(CheckpointIncompleteError):
        read(folder)


@pytest.mark.parametrize("missing", [STATE, "config.json", "tokenizer"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    if missing == "tokenizer":
        (folder / "tokenizer" / "vocab.txt").unlink()
    else:
        (folder / missing).unlink()
    with pytest.raises(CheckpointIncompleteError, match=missing):
        read(folder)


def test_a_place_that_is_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncompleteError, match="is no folder"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_incomplete(folder: Path, keep: float) -> None:
    data = (folder / STATE).read_bytes()
    (folder / STATE).write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(CheckpointIncompleteError):
        read(folder)


def test_a_pointer_of_git_lfs_is_told_from_a_damaged_file(folder: Path) -> None:
    (folder / STATE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3234000000\n")
    with pytest.raises(CheckpointIncompleteError, match="git lfs pull"):
        read(folder)


class Trap:
    """Pickled, it is a command that makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def pickled(folder: Path, trap: Trap, form: str) -> None:
    state = torch.load(folder / STATE, weights_only=True)
    if form == "zip":
        torch.save({**state, "extra": trap}, folder / STATE)
    elif form == "legacy":
        torch.save({**state, "extra": trap}, folder / STATE, _use_new_zipfile_serialization=False)
    else:
        (folder / STATE).write_bytes(pickle.dumps({"extra": trap}))


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_pickled_code_is_refused_and_does_not_run(folder: Path, tmp_path: Path, form: str) -> None:
    sprung = tmp_path / "sprung"
    pickled(folder, Trap(sprung), form)
    with pytest.raises(CheckpointUnsafeError) as refused:
        read(folder)
    assert not sprung.exists()
    if form == "zip":
        assert "posix.system" in str(refused.value)
    # The trap is real: PyTorch without the safeguard would have sprung it.
    if form == "bare":
        pickle.loads((folder / STATE).read_bytes())
    else:
        torch.load(folder / STATE, weights_only=False)
    assert sprung.exists()


def test_a_trap_among_the_protein_vectors_does_not_run_and_costs_a_remark(folder: Path, tmp_path: Path) -> None:
    (folder / "esm_embeddings").mkdir()
    torch.save({"x": Trap(tmp_path / "sprung")}, folder / "esm_embeddings" / "CD8.pt")
    assert any("CD8" in remark and "could not be compared" in remark for remark in read(folder).remarks)
    assert not (tmp_path / "sprung").exists()


def test_protein_vectors_are_compared_with_the_states(folder: Path) -> None:
    (folder / "esm_embeddings").mkdir()
    state = read(folder).state
    for name in ESM_NAMES:
        own = state[f"codex_encoder.encoder.protein_emb.esm_embeddings.{name}"]
        torch.save(own + (name == "CD68"), folder / "esm_embeddings" / f"{name}.pt")
    torch.save(torch.zeros(12), folder / "esm_embeddings" / "Xyz1.pt")
    remarks = read(folder).remarks
    assert len(remarks) == 2
    assert "CD68" in remarks[0] and "CD8" not in remarks[0].replace("CD68", "")
    assert "Xyz1" in remarks[1]


def test_an_old_file_that_is_all_pickle_is_refused_even_without_code(folder: Path) -> None:
    state = torch.load(folder / STATE, weights_only=True)
    torch.save(state, folder / STATE, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointUnsafeError, match="old form"):
        read(folder)


def test_a_file_that_unpacks_to_far_more_is_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / STATE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("haiku/data.pkl", bytes(32 << 20))
    with pytest.raises(CheckpointUnsafeError, match="compressed"):
        read(folder)


def test_a_file_larger_than_any_checkpoint_is_not_read(folder: Path) -> None:
    with pytest.raises(CheckpointUnsafeError, match="GB"):
        read_checkpoint(folder, sizes=SMALL, limit=1 << 20)


def test_a_program_of_torchscript_is_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / STATE, "w") as archive:
        archive.writestr("haiku/data.pkl", pickle.dumps({}))
        archive.writestr("haiku/constants.pkl", b"")
    with pytest.raises(CheckpointUnsafeError, match="TorchScript"):
        read(folder)


def test_another_zip_is_no_checkpoint(folder: Path) -> None:
    with zipfile.ZipFile(folder / STATE, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointIncompleteError, match="no PyTorch file"):
        read(folder)


def test_everything_that_differs_is_listed_at_once(folder: Path) -> None:
    def change(state: dict[str, Tensor]) -> None:
        for number in range(2):
            for name in ("q", "k", "v", "out"):
                del state[f"he_encoder.encoder.beit3.encoder.layers.{number}.self_attn.{name}_proj.A.bias"]
        state["unknown.weight"] = torch.zeros(3)
        state[KEY] = torch.zeros(32, 31)
        state["he_projection.0.bias"] = state["he_projection.0.bias"].double()

    change_state(folder, change)
    with pytest.raises(CheckpointLayoutError) as refused:
        read(folder)
    said = str(refused.value)
    assert "8 missing" in said and "and 3 more" in said
    assert "1 unexpected" in said and "unknown.weight" in said
    assert f"{KEY} is 32 × 31, not 32 × 32" in said
    assert "he_projection.0.bias is float64, not float32" in said


def test_a_marker_of_the_state_that_config_does_not_name_is_refused(folder: Path) -> None:
    change_config(folder, known_markers=["DAPI"])
    with pytest.raises(CheckpointLayoutError, match=r"learnable_embeddings\.PanCK"):
        read(folder)


def test_the_mif_towers_own_checkpoint_is_recognised(folder: Path) -> None:
    own = {"encoder.patch_summary_token": torch.zeros(16), "encoder.patch_encoder.weight": torch.zeros(16, 256)}
    torch.save((own, {}, 1), folder / STATE)
    with pytest.raises(CheckpointLayoutError, match="mIF tower alone"):
        read(folder)


@pytest.mark.parametrize("content", [[], {}, {"a": 1}, {"a": {"b": torch.zeros(1)}}, torch.zeros(3)])
def test_a_file_without_a_dictionary_of_tensors_is_refused(folder: Path, content: Any) -> None:
    torch.save(content, folder / STATE)
    with pytest.raises(CheckpointLayoutError):
        read(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(folder: Path, value: float) -> None:
    def change(state: dict[str, Tensor]) -> None:
        state[KEY][3, 5] = value

    change_state(folder, change)
    with pytest.raises(CheckpointValueError, match="vision_head"):
        read(folder)


def test_a_negative_variance_and_foreign_rotary_tables_are_refused(folder: Path) -> None:
    def negate(state: dict[str, Tensor]) -> None:
        state["text_projection.3.running_var"][2] = -1.0

    def slow_down(state: dict[str, Tensor]) -> None:
        key = "codex_encoder.encoder.encoder.0.encoder_layer.multi_head_attention.pos_emb.rope1d.cos"
        state[key] = torch.cos(torch.acos(state[key]) * 0.5)

    intact = (folder / STATE).read_bytes()
    change_state(folder, negate)
    with pytest.raises(CheckpointValueError, match="negative"):
        read(folder)
    (folder / STATE).write_bytes(intact)
    change_state(folder, slow_down)
    with pytest.raises(CheckpointValueError, match="rotary"):
        read(folder)


FIELDS = ["codex_dim", "text_dim", "he_dim", "projection_dim", "embedding_dim", "marker_model_dim"]


@pytest.mark.parametrize("field", [*FIELDS, "esm_marker_names", "known_markers"])
def test_a_config_without_a_field_is_refused_and_no_default_steps_in(folder: Path, field: str) -> None:
    change_config(folder, **{field: ...})
    with pytest.raises(CheckpointLayoutError, match=f"lacks the field {field}"):
        read(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"he_dim": "1024"},
        {"he_dim": True},
        {"he_dim": -1},
        {"codex_dim": 17},
        {"shared_projection": True},
        {"esm_marker_names": "CD8"},
        {"esm_marker_names": [1]},
        {"esm_marker_names": [], "known_markers": []},
        {"use_text": "yes"},
    ],
)
def test_a_config_that_asks_for_another_model_is_refused(folder: Path, fields: dict[str, Any]) -> None:
    change_config(folder, **fields)
    with pytest.raises(CheckpointLayoutError, match=r"config\.json"):
        read(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError):
        read(folder)


def test_a_text_is_cut_as_bert_cuts_it(folder: Path) -> None:
    """Lower case, accents off, the longest known piece first, what is not known letter by letter."""
    tokenizer_json = read(folder).tokenizer
    assert tokenizer_json is not None
    tokenizer = Tokenizer.from_bytes(tokenizer_json, 200)
    pieces = (folder / "tokenizer" / "vocab.txt").read_text().split("\n")
    ids = tokenizer.encode("Lúng tissue, ABoma word3 世").input_ids[0]
    assert [pieces[i] for i in ids] == [
        "[CLS]", "lung", "tissue", ",", "a", "##b", "##oma", "word3", "[UNK]", "[SEP]",
    ]  # fmt: skip


def test_a_whole_tokenizer_is_taken_where_there_is_no_vocabulary(folder: Path) -> None:
    tokenizer_json = read(folder).tokenizer
    assert tokenizer_json is not None
    (folder / "tokenizer" / "vocab.txt").unlink()
    (folder / "tokenizer" / "tokenizer.json").write_bytes(tokenizer_json)
    assert read(folder).tokenizer == tokenizer_json


@pytest.mark.parametrize(
    "change", ["one too few", "twice", "no [CLS]", "not text", "broken tokenizer.json", "broken settings"]
)
def test_a_tokenizer_that_does_not_fit_is_refused(folder: Path, change: str) -> None:
    file = folder / "tokenizer" / "vocab.txt"
    pieces = file.read_text().splitlines()
    if change == "one too few":
        file.write_text("\n".join(pieces[:-1]) + "\n")
    elif change == "twice":
        file.write_text("\n".join([*pieces[:-1], pieces[9]]) + "\n")
    elif change == "no [CLS]":
        file.write_text("\n".join(piece.replace("[CLS]", "[BOS]") for piece in pieces) + "\n")
    elif change == "not text":
        file.write_bytes(b"\xff\xfe\x00")
    elif change == "broken settings":
        (folder / "tokenizer" / "tokenizer_config.json").write_text("[]")
    else:
        file.unlink()
        (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointLayoutError, match="tokenizer/"):
        read(folder)


def test_tensors_stay_on_the_disk(folder: Path) -> None:
    """They are views of one mapping of the file, not copies."""
    state = read_state(folder / STATE)
    maps = Path("/proc/self/maps").read_text()
    assert str(folder / STATE) in maps
    ranges = [line.split()[0].split("-") for line in maps.splitlines() if str(folder / STATE) in line]
    address = state[KEY].data_ptr()
    assert any(int(start, 16) <= address < int(end, 16) for start, end in ranges)
