"""What `engines.py` measures: towers of every size, each with its inputs, its graphs and its fp32 vectors on disk."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build/bench-engines"
EMBEDDED = ROOT / "engines/embedded"
GOLDEN = {
    "he": {"tiles": "he_tiles"},
    "text": {"input_ids": "input_ids", "attention_mask": "attention_mask"},
    "mif": {"patches": "mif_patches", "markers": "mif_markers"},
}
SIZES = {
    "vit-s-16": {"side": 224, "patch": 16, "width": 384, "hidden": 1536, "heads": 6, "layers": 12},
    "vit-l-14": {"side": 224, "patch": 14, "width": 1024, "hidden": 4096, "heads": 16, "layers": 24},
    "musk": {"side": 384, "patch": 16, "width": 1024, "hidden": 4096, "heads": 16, "layers": 24},
}
ROWS = 8
CALIBRATED_ON = 4
"""Items by which the quantisers measure ranges; of a tower with several sizes those of the smallest."""

SEED = 11
DIMENSION = 512
THREADS = int(os.environ.get("BENCH_THREADS", 0)) or len(os.sched_getaffinity(0))

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One tower at one size of input.

    Attributes:
        name: The case's name on the command line.
        tower: The tower's name, which is also its folder's.
    """

    name: str
    tower: str

    @property
    def folder(self) -> Path:
        """Where everything of the tower lies."""
        return WORK / self.tower

    @property
    def trained(self) -> bool:
        """Whether the weights are the embedded bundle's; PyTorch then has others of the same size."""
        return self.tower in GOLDEN

    def inputs(self) -> Inputs:
        """The case's items, `ROWS` of them."""
        with np.load(self.folder / f"{self.name}.npz") as stored:
            return {key: stored[key] for key in stored.files}

    def reference(self) -> np.ndarray:
        """Their vectors by ONNX Runtime in fp32."""
        return np.asarray(np.load(self.folder / f"{self.name}.npy"))

    def gflop(self) -> float:
        """10⁹ floating-point operations an item, two a multiplication."""
        return float(json.loads((self.folder / "facts.json").read_text())[self.name])


SIZED = {"virtues": (8, 20, 54), "biomedbert": (32, 128, 200)}
"""Channels of the published mIF tower, and tokens of the published text tower."""

CASES = {
    **{name: Case(name, name) for name in (*GOLDEN, *SIZES)},
    **{f"{tower}-{size}": Case(f"{tower}-{size}", tower) for tower, sizes in SIZED.items() for size in sizes},
}


def prepare(tower: str) -> None:
    """Write all that the cases of a tower need into its folder; a folder that is whole already stays."""
    import torch
    from gpu import gflop

    folder = WORK / tower
    if _is_whole(folder, tower):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    module, cases = (embedded_tower if tower in GOLDEN else seeded_tower)(tower, folder)
    torch.save(module, folder / "tower.pt")
    for name, inputs in cases.items():
        np.savez(folder / f"{name}.npz", **inputs)
    facts = {name: gflop(module, inputs) for name, inputs in cases.items()}
    del module
    gc.collect()
    smallest = next(iter(cases.values()))
    write_variants(folder, [rows_of(smallest, i, i + 1) for i in range(CALIBRATED_ON)])
    write_references(folder, cases)
    (folder / "facts.json").write_text(json.dumps(facts))


def _is_whole(folder: Path, tower: str) -> bool:
    """Whether a preparation came to its end, and knew every case."""
    facts = folder / "facts.json"
    return facts.exists() and {case.name for case in CASES.values() if case.tower == tower} <= set(
        json.loads(facts.read_text())
    )


def embedded_tower(tower: str, folder: Path) -> tuple[Any, dict[str, Inputs]]:
    """A tower of the embedded bundle; for torch, one of the same size, whose weights do not matter to its speed."""
    from haiku_edge.export.model import MifConfig, TowersConfig, build_towers

    with np.load(EMBEDDED / "golden/cases.npz") as cases:
        found = {key: cases[stored] for key, stored in GOLDEN[tower].items()}
    inputs = {key: np.resize(array, (ROWS, *array.shape[1:])) for key, array in found.items()}
    markers = int(inputs["markers"].max()) if "markers" in inputs else 1
    towers = build_towers(TowersConfig(mif=MifConfig(markers=markers)), SEED)
    towers.train(False)
    (folder / "fp32.onnx").write_bytes((EMBEDDED / f"towers/{tower}.onnx").read_bytes())
    halve(folder)
    return towers.for_inference().modules()[tower], {tower: inputs}


def seeded_tower(tower: str, folder: Path) -> tuple[Any, dict[str, Inputs]]:
    """A tower of published size with seeded weights."""
    from gpu import make_tower

    from haiku_edge.export.graph import trace_tower, write_graph

    if tower in SIZES:
        module, cases = image_tower(tower), {tower: {"tiles": simulated_tiles()}}
    else:
        module = make_tower(tower)
        made = patches_of if tower == "virtues" else words_of
        cases = {f"{tower}-{size}": made(size) for size in SIZED[tower]}
    for storage, stem in (("fp32", "fp32"), ("fp16", "half")):
        write_graph(module, trace_tower(module), folder, stem, storage=storage)
        gc.collect()
    return module, cases


def image_tower(tower: str) -> Any:
    """An H&E tower of one of the sizes."""
    import torch

    from haiku_edge.export.model import HeConfig, HeTower, prepare_tower

    torch.manual_seed(SEED)
    return prepare_tower(HeTower(HeConfig(256, stem=(), **SIZES[tower]), DIMENSION).eval())


def simulated_tiles() -> np.ndarray:
    """(ROWS, 256, 256, 3) uint8 tiles of simulated patients."""
    from haiku_edge.export.synthetic import render_region, simulate_cohort

    return np.stack([render_region(patient, 256, 256).he for patient in simulate_cohort(ROWS, seed=SEED)])


def patches_of(channels: int) -> Inputs:
    """Patches of simulated patients, whose measured channels come again until there are enough."""
    from haiku_edge.export.synthetic import render_region, simulate_cohort

    regions = [render_region(patient, 256, 256) for patient in simulate_cohort(ROWS, seed=SEED)]
    measured = [region.mif[region.measured] for region in regions]
    patches = np.stack([mif[np.arange(channels) % len(mif)] for mif in measured])
    return {"patches": patches, "markers": np.tile(np.arange(1, channels + 1), (ROWS, 1))}


def words_of(tokens: int) -> Inputs:
    """Texts of random words, without padding."""
    ids = np.random.default_rng(SEED).integers(1, 30_000, (ROWS, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def halve(folder: Path) -> None:
    """The embedded graph with its matrices stored as fp16, as `export` would write it."""
    from onnx import helper, numpy_helper

    from haiku_edge.export.engines.graphs import inline

    model = inline(read_tower(folder, "fp32"))
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim >= 2 and values.size >= 4096:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
            model.graph.node.insert(0, helper.make_node("Cast", [f"{name}.fp16"], [name], to=1))
    (folder / "half.onnx").write_bytes(model.SerializeToString())


def write_variants(folder: Path, batches: list[Inputs]) -> None:
    """The int8 graphs and the prepacked files."""
    from haiku_edge.export.engines.quantise import compress_weights, quantise_dynamic, quantise_static
    from haiku_edge.runtime.engine.onnx import save_prepacked

    model = read_tower(folder, "fp32")
    (folder / "weights.onnx").write_bytes(compress_weights(model))
    (folder / "dynamic.onnx").write_bytes(quantise_dynamic(model, batches))
    (folder / "static.onnx").write_bytes(quantise_static(model, batches))
    (folder / "static-openvino.onnx").write_bytes(quantise_static(model, batches, target="openvino"))
    (folder / "prepacked").mkdir()
    save_prepacked(model, folder / "prepacked", THREADS)


def write_references(folder: Path, cases: Mapping[str, Inputs]) -> None:
    """The vectors of every case, item by item, by ONNX Runtime in fp32."""
    from haiku_edge.runtime.engine import plain_engine

    model = read_tower(folder, "fp32")
    engine = plain_engine(model.graph, weights=model.weights)
    for name, inputs in cases.items():
        vectors = [engine(**rows_of(inputs, i, i + 1)) for i in range(ROWS)]
        np.save(folder / f"{name}.npy", np.concatenate(vectors))


def read_tower(folder: Path, graph: str) -> Any:
    """A graph of the folder as a bundle would hand it over."""
    from haiku_edge.runtime.engine.model import TowerModel

    weights = {path.name: path.read_bytes() for path in folder.glob(f"{graph}.weights")}
    return TowerModel(folder.name, "0" * 64, (folder / f"{graph}.onnx").read_bytes(), weights)


def rows_of(inputs: Mapping[str, np.ndarray], start: int, stop: int) -> Inputs:
    """Some rows of every input."""
    return {key: array[start:stop] for key, array in inputs.items()}
