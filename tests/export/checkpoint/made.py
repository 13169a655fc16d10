"""Checkpoint folders as they are released, at full size and small, with weights that anyone can make again."""

from __future__ import annotations

import importlib.util
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from haiku_edge.export.checkpoint import expected_layout
from haiku_edge.export.dataset import PatchSample, write_dataset
from haiku_edge.export.model import HeConfig, MifConfig, TextConfig, TowersConfig, published_config
from haiku_edge.export.synthetic import render_region, simulate_cohort

SHARED = Path(__file__).parents[4] / "shared"
PARITY = SHARED / "parity"
ESM_NAMES = ("CD3e", "CD8", "CD68", "HLA-DR", "PGP9_5")
LEARNED_NAMES = ("DAPI", "PanCK")

SMALL = TowersConfig(
    dimension=24,
    he=HeConfig(256, 64, stem=(), patch=16, width=32, hidden=48, heads=2, layers=2),
    mif=MifConfig(256, pool=1, token=16, markers=7, marker_width=12, width=16, hidden=24, heads=2, blocks="hv"),
    text=TextConfig(130, length=200, positions=210, width=16, hidden=24, heads=2, layers=1),
)
"""The published architecture, small enough to be made, exported and run within seconds."""


def fill_module() -> ModuleType:
    """parity/fill.py, which defines the weights."""
    spec = importlib.util.spec_from_file_location("fill", PARITY / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rotary_table(key: str, shape: tuple[int, ...]) -> Tensor:
    """What VirTues computes for itself: sin or cos of position × 10000^(−2j/32), the angles twice."""
    frequencies = 10000.0 ** (-2.0 * torch.arange(shape[1] // 2, dtype=torch.float64) / shape[1])
    angles = torch.arange(shape[0], dtype=torch.float64)[:, None] * frequencies
    both = torch.cat([angles, angles], dim=1)
    return (both.sin() if key.endswith("sin") else both.cos()).to(torch.float32)


def make_state(
    sizes: TowersConfig,
    esm: tuple[str, ...],
    learned: tuple[str, ...],
    values: Callable[[str, tuple[int, ...]], np.ndarray],
) -> dict[str, Tensor]:
    """A state with the layout of these sizes."""
    state: dict[str, Tensor] = {}
    for key, entry in expected_layout(sizes, esm, learned).items():
        if ".rope1d." in key:
            state[key] = rotary_table(key, entry.shape)
        elif entry.dtype == "int64":
            state[key] = torch.zeros(entry.shape, dtype=torch.int64)
        else:
            state[key] = torch.from_numpy(np.asarray(values(key, entry.shape), dtype=np.float32))
    return state


def small_values(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a small state, scaled as a network's."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    raw = rng.normal(size=shape).astype(np.float32)
    if key.endswith("running_var"):
        return 1 + np.abs(raw) / 10
    if len(shape) == 1:
        return 1 + raw / 10 if key.endswith(".weight") else raw / 50
    return raw / np.sqrt(np.prod(shape[1:], initial=1)).astype(np.float32)


def config_values(sizes: TowersConfig, esm: tuple[str, ...], learned: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the released config.json."""
    return {
        "hf_model": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext",
        "codex_dim": sizes.mif.width,
        "text_dim": 768 if sizes.text is None else sizes.text.width,
        "he_dim": sizes.he.width,
        "projection_dim": sizes.dimension,
        "shared_projection": False,
        "embedding_dim": sizes.mif.marker_width,
        "marker_model_dim": sizes.mif.width,
        "freeze_bert_layers": True,
        "tune_bert_layers": [10, 11],
        "freeze_he_encoder": True,
        "freeze_codex_encoder": True,
        "esm_marker_names": list(esm),
        "known_markers": list(learned),
        "use_text": sizes.text is not None,
    }


def vocabulary(size: int) -> list[str]:
    """A BERT vocabulary: special tokens, characters bare and continued, then made-up words."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:%()/+-_'\"<>=&?!"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += ["lung", "tissue", "stage", "grade", "##oma"]
    pieces += [f"word{number}" for number in range(size - len(pieces))]
    assert len(pieces) == size
    return pieces


def write_checkpoint(
    folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], pieces: list[str] | None
) -> Path:
    """Write the folder as it is released."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), folder / "haiku_state_dict.pt")
    (folder / "config.json").write_text(json.dumps(config))
    if pieces is not None:
        (folder / "tokenizer").mkdir(exist_ok=True)
        (folder / "tokenizer" / "vocab.txt").write_text("\n".join(pieces) + "\n")
        (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return folder


def write_small_checkpoint(folder: Path, *, text: bool = True) -> Path:
    """A small checkpoint of three modalities, or of two."""
    sizes = SMALL if text else TowersConfig(SMALL.dimension, SMALL.he, SMALL.mif, None)
    state = make_state(sizes, ESM_NAMES, LEARNED_NAMES, small_values)
    config = config_values(sizes, ESM_NAMES, LEARNED_NAMES)
    return write_checkpoint(folder, state, config, vocabulary(130) if text else None)


def write_full_checkpoint(folder: Path) -> Path:
    """The checkpoint of the parity fixtures: 808.8 M parameters, 3.2 GB."""
    meta = json.loads((PARITY / "haiku" / "meta.json").read_text())
    esm, learned = tuple(meta["esm_markers"]), tuple(meta["learnable_markers"])
    sizes = published_config(len(esm + learned))
    fill = fill_module().fill
    state = make_state(sizes, esm, learned, lambda key, shape: fill(meta["salt"] + key, shape))
    return write_checkpoint(folder, state, config_values(sizes, esm, learned), vocabulary(30522))


def write_atlas_folder(folder: Path, patients: int = 12) -> Path:
    """A dataset of simulated patches in the open layout, one a patient, under names that the model knows."""
    panel = ("DAPI", "PanCK", "CD3e", "CD8", "CD68")
    samples = []
    for patient in simulate_cohort(patients, seed=17):
        region = render_region(patient, 256, 256)
        mif = region.mif[region.measured][: len(panel)]
        name, facts = patient.identifier, dict(patient.facts)
        samples.append(PatchSample(f"{name}-1", name, name, region.he, mif, panel, facts=facts, x=0.0, y=0.0))
    write_dataset(folder, samples, name="simulated", markers=panel, mpp=0.3775, made={"by": "a test"})
    return folder
