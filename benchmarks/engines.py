"""Every engine of the processor on towers of every size, beside PyTorch and the machine's own limit.

Each row is a process of its own, so that start-up and memory are its own. Embedded towers have their trained weights
and golden cases; the others have seeded weights and simulated tissue, so that their int8 cosines only indicate.

    [BENCH_THREADS=1] python benchmarks/engines.py [--quick] [--towers he vit-s-16 …] [--engines onnxruntime openvino …]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from rich.console import Console
from rich.table import Table

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
TOWERS = (*GOLDEN, *SIZES)
ENGINES = {
    "torch eager fp32": "",
    "torch.compile fp32": "",
    "torch eager bf16": "",
    "torch.compile bf16": "",
    "onnxruntime fp32": "fp32",
    "onnxruntime prepacked fp32": "prepacked",
    "onnxruntime int8, dynamic": "dynamic",
    "onnxruntime int8, static": "static",
    "openvino fp32": "fp32",
    "openvino fp32, stored fp16": "half",
    "openvino bf16": "fp32",
    "openvino int8, weights": "weights",
    "openvino int8, static": "static-openvino",
}
"""What runs, and the graph that it runs."""

COLUMNS = ("engine", "1 /s", "8 /s", "/CPU s", "ms", "start s", "peak MB", "private", "cosine", "GF/s", "%", "% CPU")
ROWS = 8
SLOW = 2.0
"""Seconds a tile from which batches of 8 are left out: such towers fill the processor with one tile."""

FEW = 3
"""Tiles by which such towers are compared with fp32."""

CALIBRATED_ON = 4
SEED = 11
DIMENSION = 512
THREADS = int(os.environ.get("BENCH_THREADS", 0)) or len(os.sched_getaffinity(0))

Inputs = dict[str, np.ndarray]


class Timing(NamedTuple):
    """How fast an action is.

    Attributes:
        rate: Calls a second of the fastest call.
        median: Seconds of the median call.
        cpu_rate: Calls a second of processor time, all threads together: steadier where others use the machine.
    """

    rate: float
    median: float
    cpu_rate: float


# --- preparing: graphs, variants, inputs and reference of one tower ---------------------------------------------------


def prepare(name: str) -> None:
    """Write all that the rows of a tower need into its folder; a folder that is whole already stays."""
    folder = WORK / name
    if (folder / "facts.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tower, inputs = (embedded_tower if name in GOLDEN else seeded_tower)(name, folder)
    import torch

    torch.save(tower, folder / "tower.pt")
    np.savez(folder / "inputs.npz", **inputs)
    facts = {"gflop": gflop(tower, inputs)}
    del tower
    gc.collect()
    write_variants(folder, [rows_of(inputs, i, i + 1) for i in range(CALIBRATED_ON)])
    reference = open_engine("onnxruntime fp32", folder)
    np.save(folder / "reference.npy", embed_in(reference, inputs, 1))
    (folder / "facts.json").write_text(json.dumps(facts))


def embedded_tower(name: str, folder: Path) -> tuple[Any, Inputs]:
    """A tower of the embedded bundle; for torch, one of the same size, whose weights do not matter to its speed."""
    from haiku_edge.export.model import MifConfig, TowersConfig, build_towers

    with np.load(EMBEDDED / "golden/cases.npz") as cases:
        found = {key: cases[stored] for key, stored in GOLDEN[name].items()}
    inputs = {key: np.resize(array, (ROWS, *array.shape[1:])) for key, array in found.items()}
    markers = int(inputs["markers"].max()) if "markers" in inputs else 1
    towers = build_towers(TowersConfig(mif=MifConfig(markers=markers)), SEED)
    towers.train(False)
    (folder / "fp32.onnx").write_bytes((EMBEDDED / f"towers/{name}.onnx").read_bytes())
    halve(folder)
    return towers.for_inference().modules()[name], inputs


def seeded_tower(name: str, folder: Path) -> tuple[Any, Inputs]:
    """A tower of published size with seeded weights."""
    import torch

    from haiku_edge.export.graph import trace_tower, write_graph
    from haiku_edge.export.model import HeConfig, HeTower, prepare_tower

    torch.manual_seed(SEED)
    tower = prepare_tower(HeTower(HeConfig(256, stem=(), **SIZES[name]), DIMENSION).eval())
    for storage, stem in (("fp32", "fp32"), ("fp16", "half")):
        write_graph(tower, trace_tower(tower), folder, stem, storage=storage)
        gc.collect()
    return tower, {"tiles": simulated_tiles()}


def simulated_tiles() -> np.ndarray:
    """(ROWS, 256, 256, 3) uint8 tiles of simulated patients."""
    from haiku_edge.export.synthetic import render_region, simulate_cohort

    return np.stack([render_region(patient, 256, 256).he for patient in simulate_cohort(ROWS, seed=SEED)])


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


def gflop(tower: Any, inputs: Inputs) -> float:
    """10⁹ floating-point operations an item (two a multiplication), as PyTorch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        tower(**{key: torch.from_numpy(array[:1]) for key, array in inputs.items()})
    return float(counter.get_total_flops()) / 1e9


# --- measuring one row, in a process of its own -----------------------------------------------------------------------


def read_tower(folder: Path, graph: str) -> Any:
    """A graph of the folder as a bundle would hand it over."""
    from haiku_edge.runtime.engine.model import TowerModel

    weights = {path.name: path.read_bytes() for path in folder.glob(f"{graph}.weights")}
    return TowerModel(folder.name, "0" * 64, (folder / f"{graph}.onnx").read_bytes(), weights)


def open_engine(engine: str, folder: Path) -> Callable[..., np.ndarray]:
    """Make an engine as the run time does, or a torch tower that takes and gives arrays."""
    if engine.startswith("torch"):
        return open_torch(engine, folder)
    from haiku_edge.runtime.engine import DeviceInfo
    from haiku_edge.runtime.engine.onnx import PREPACKED, OnnxEngine, open_prepacked
    from haiku_edge.runtime.engine.openvino import OpenVinoEngine

    precision = next(p for p in ("fp32", "bf16", "int8") if p in engine)
    device = DeviceInfo("cpu", "cpu", engine, "this machine's", THREADS, "asked for", precision)
    if "prepacked" in engine:
        return open_prepacked(folder / "prepacked" / PREPACKED[0], device)
    model = read_tower(folder, ENGINES[engine])
    return (OpenVinoEngine if "openvino" in engine else OnnxEngine)(model.graph, device, model.weights)


def open_torch(engine: str, folder: Path) -> Callable[..., np.ndarray]:
    """The torch tower, eager or compiled with its weights frozen, in fp32 or in autocast to bf16."""
    import torch

    torch.set_num_threads(THREADS)
    tower = torch.load(folder / "tower.pt", weights_only=False, mmap=True).eval()
    if "compile" in engine:
        import torch._inductor.config as inductor

        inductor.freezing = True
        tower = torch.compile(tower, dynamic=False)

    def call(**inputs: np.ndarray) -> np.ndarray:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled="bf16" in engine):
            vectors = tower(**{key: torch.from_numpy(np.ascontiguousarray(v)) for key, v in inputs.items()})
        return vectors.float().numpy()

    return call


def measure(engine: str, name: str, spawned: float, seconds: float) -> dict[str, float]:
    """Start-up, memory, speed and agreement of one engine."""
    folder = WORK / name
    with np.load(folder / "inputs.npz") as stored:
        inputs = {key: stored[key] for key in stored.files}
    call = open_engine(engine, folder)
    call(**rows_of(inputs, 0, 1))
    found = {"start": time.time() - spawned, "anonymous": memory("RssAnon")}
    one = timed(lambda: call(**rows_of(inputs, 0, 1)), seconds)
    found |= {"one": one.rate, "latency": one.median, "cpu_rate": one.cpu_rate}
    size = ROWS if one.median < SLOW else 1
    if size > 1:
        eight = timed(lambda: call(**inputs), seconds)
        found |= {"eight": ROWS * eight.rate, "cpu_rate": max(one.cpu_rate, ROWS * eight.cpu_rate)}
    if name not in GOLDEN or not engine.startswith("torch"):
        count = ROWS if size > 1 else FEW
        vectors = embed_in(call, rows_of(inputs, 0, count), size)
        cosines = rowwise_cosine(vectors, np.load(folder / "reference.npy")[:count])
        found |= {"least": float(cosines.min()), "mean": float(cosines.mean())}
    return found | {"peak": memory("VmHWM"), "gflop": json.loads((folder / "facts.json").read_text())["gflop"]}


def embed_in(call: Callable[..., np.ndarray], inputs: Inputs, size: int) -> np.ndarray:
    """(n, d) vectors, computed in batches of a size."""
    count = len(next(iter(inputs.values())))
    return np.concatenate([call(**rows_of(inputs, i, i + size)) for i in range(0, count, size)])


def rowwise_cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) cosines of two (n, d) arrays."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.sum(one * other, axis=1) / lengths)


def rows_of(inputs: Mapping[str, np.ndarray], start: int, stop: int) -> Inputs:
    """Some rows of every input."""
    return {key: array[start:stop] for key, array in inputs.items()}


def timed(action: Callable[[], object], seconds: float) -> Timing:
    """Call an action again and again for about so many seconds, once before to warm up."""
    action()
    times: list[float] = []
    cpu = time.process_time()
    while not times or (sum(times) < seconds and len(times) < 200):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return Timing(1 / min(times), sorted(times)[len(times) // 2], len(times) / (time.process_time() - cpu))


def memory(field: str) -> float:
    """A field of this process's memory, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) / 1024


def gemm_rates() -> dict[str, float]:
    """GFLOP/s of large matrix products, the best of NumPy's and PyTorch's; `cpu` is fp32 in a second of CPU time."""
    import torch

    torch.set_num_threads(THREADS)
    side = 2048
    single = torch.randn(side, side)
    half, array = single.bfloat16(), single.numpy()
    work = 2 * side**3 / 1e9
    singles = [timed(action, 1.0) for action in (lambda: single @ single, lambda: array @ array)]
    return {
        "fp32": work * max(timing.rate for timing in singles),
        "cpu": work * max(timing.cpu_rate for timing in singles),
        "bf16": work * timed(lambda: half @ half, 1.0).rate,
    }


# --- the table -------------------------------------------------------------------------------------------------------


def child(*arguments: str) -> dict[str, float]:
    """Run one part of this file in a fresh process."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": 1.0, "why": (done.stderr.strip().splitlines() or ["killed"])[-1]}  # type: ignore[dict-item]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(name: str, engines: list[str], seconds: float, console: Console) -> None:
    """Measure and print the rows of one tower; the figures also go into its folder, row by row."""
    limits = child("--gemm")
    table = Table(*COLUMNS)
    rows = {}
    for engine in engines:
        spawned = str(time.time())
        found = rows[engine] = child("--row", engine, name, spawned, "--seconds", str(seconds))
        table.add_row(engine, *(cells(found, limits) if "failed" not in found else (str(found["why"])[:40],)))
        (WORK / name / "figures.json").write_text(json.dumps({"limits": limits, "rows": rows}, indent=1))
    console.print(f"{name}: {limits['fp32']:.0f} GFLOP/s in fp32 and {limits['bf16']:.0f} in bf16 at best", table)


def cells(found: dict[str, float], limits: dict[str, float]) -> tuple[str, ...]:
    """One row of the table."""
    cosine = f"{found['least']:.6f} / {found['mean']:.6f}" if "least" in found else "–"
    reached = found["gflop"] * max(found["one"], found.get("eight", 0.0))
    return (
        f"{found['one']:.2f}",
        f"{found['eight']:.2f}" if "eight" in found else "–",
        f"{found['cpu_rate']:.2f}",
        f"{1000 * found['latency']:.1f}",
        f"{found['start']:.1f}",
        f"{found['peak']:.0f}",
        f"{found['anonymous']:.0f}",
        cosine,
        f"{reached:.0f}",
        f"{reached / limits['fp32']:.0%}",
        f"{found['gflop'] * found['cpu_rate'] / limits['cpu']:.0%}",
    )


def main() -> None:
    """Prepare, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the embedded H&E tower and ViT-S, a moment each")
    parser.add_argument("--towers", nargs="+", choices=TOWERS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--gemm", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seconds = options.seconds or (0.3 if options.quick else 3.0)
    if options.prepare:
        prepare(options.prepare)
        print(json.dumps({"prepared": 1}))
    elif options.gemm:
        print(json.dumps(gemm_rates()))
    elif options.row:
        engine, name, spawned = options.row
        print(json.dumps(measure(engine, name, float(spawned), seconds)))
    else:
        run_all(options.towers or (("he", "vit-s-16") if options.quick else TOWERS), options.engines, seconds)


def run_all(towers: tuple[str, ...], engines: list[str], seconds: float) -> None:
    """Every row of every tower."""
    console = Console(width=150)
    for name in towers:
        prepared = child("--prepare", name)
        if "failed" in prepared:
            console.print(f"{name} could not be prepared: {prepared['why']}")
            continue
        report(name, engines, seconds, console)


if __name__ == "__main__":
    main()
