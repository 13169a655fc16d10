"""Every engine of the processor on towers of every size, beside PyTorch and the machine's own limit.

Each row is a process of its own, so that start-up and memory are its own. Embedded towers have their trained weights
and golden cases; the others have seeded weights and simulated tissue, so that their int8 cosines only indicate.
Towers whose input has no fixed size are there at several: virtues-20 has 20 channels, biomedbert-200 has 200 tokens.

    [BENCH_THREADS=1] python benchmarks/engines.py [--quick] [--towers he vit-s-16 …] [--engines onnxruntime openvino …]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from engine_towers import CASES, ROWS, THREADS, WORK, Case, Inputs, prepare, read_tower, rows_of
from rich.console import Console
from rich.table import Table

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
SLOW = 2.0
"""Seconds a tile from which batches of 8 are left out: such towers fill the processor with one tile."""

FEW = 3
"""Tiles by which such towers are compared with fp32."""


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


# --- measuring one row, in a process of its own -----------------------------------------------------------------------


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


def measure(engine: str, case: Case, spawned: float, seconds: float) -> dict[str, float]:
    """Start-up, memory, speed and agreement of one engine."""
    inputs = case.inputs()
    call = open_engine(engine, case.folder)
    call(**rows_of(inputs, 0, 1))
    found = {"start": time.time() - spawned, "anonymous": memory("RssAnon")}
    one = timed(lambda: call(**rows_of(inputs, 0, 1)), seconds)
    found |= {"one": one.rate, "latency": one.median, "cpu_rate": one.cpu_rate}
    size = ROWS if one.median < SLOW else 1
    if size > 1:
        eight = timed(lambda: call(**inputs), seconds)
        found |= {"eight": ROWS * eight.rate, "cpu_rate": max(one.cpu_rate, ROWS * eight.cpu_rate)}
    if not (case.trained and engine.startswith("torch")):
        count = ROWS if size > 1 else FEW
        vectors = embed_in(call, rows_of(inputs, 0, count), size)
        cosines = rowwise_cosine(vectors, case.reference()[:count])
        found |= {"least": float(cosines.min()), "mean": float(cosines.mean())}
    return found | {"peak": memory("VmHWM"), "gflop": case.gflop()}


def embed_in(call: Callable[..., np.ndarray], inputs: Inputs, size: int) -> np.ndarray:
    """(n, d) vectors, computed in batches of a size."""
    count = len(next(iter(inputs.values())))
    return np.concatenate([call(**rows_of(inputs, i, i + size)) for i in range(0, count, size)])


def rowwise_cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) cosines of two (n, d) arrays."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.sum(one * other, axis=1) / lengths)


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
        (WORK / f"{name}.json").write_text(json.dumps({"limits": limits, "rows": rows}, indent=1))
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
    parser.add_argument("--towers", nargs="+", choices=CASES)
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
        print(json.dumps(measure(engine, CASES[name], float(spawned), seconds)))
    else:
        run_all(options.towers or (["he", "vit-s-16"] if options.quick else list(CASES)), options.engines, seconds)


def run_all(towers: list[str], engines: list[str], seconds: float) -> None:
    """Every row of every tower."""
    console = Console(width=150)
    for name in towers:
        prepared = child("--prepare", CASES[name].tower)
        if "failed" in prepared:
            console.print(f"{name} could not be prepared: {prepared['why']}")
            continue
        report(name, engines, seconds, console)


if __name__ == "__main__":
    main()
