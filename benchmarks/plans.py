"""TensorRT-RTX plans of the full-size towers, built without a GPU: time, size, peak memory.

    python benchmarks/plans.py [--towers he text mif] [--precisions fp16 bf16 fp32] [--work build/bench-plans]

The towers have the published sizes and seeded weights. Each is exported once, and each plan is built in a process of
its own, so that its peak memory is its own. GPU memory is what the builder states for the largest shapes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

TITLES = {"he": "MUSK vision, 384 px", "text": "BiomedBERT", "mif": "VirTues fork"}
PRECISIONS = ("fp16", "bf16", "fp32", "int8-static", "fp8-static")
SEED = 5
MARKERS = 124
MB = 1e6


def export_tower(name: str, folder: Path) -> None:
    """Write a tower's canonical graph with its weights beside it; what is there already stays."""
    if (folder / f"{name}.done").exists():
        return
    import torch

    from haiku_edge.export.graph import trace_tower, write_graph
    from haiku_edge.export.model import HeTower, MifTower, TextTower, prepare_tower, published_config

    config = published_config(MARKERS)
    torch.manual_seed(SEED)
    makes = {"he": (HeTower, config.he), "text": (TextTower, config.text), "mif": (MifTower, config.mif)}
    tower_class, sizes = makes[name]
    tower = prepare_tower(tower_class(sizes, config.dimension).train(False))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}.*"):
        old.unlink()
    write_graph(tower, trace_tower(tower), folder, name)
    (folder / f"{name}.done").touch()


def build_one(name: str, precision: str, folder: Path) -> dict[str, Any]:
    """Derive the graph and build its plan; sizes in bytes, times in seconds."""
    from haiku_edge.export.engines.build_tensorrt import build_plan
    from haiku_edge.export.engines.options import FP8_FROM, LEAST_CAPABILITY, BuildOptions
    from haiku_edge.export.engines.plans import derive
    from haiku_edge.export.engines.regimes import describe_ranges, patch_ranges, tower_regimes, usual_ranges
    from haiku_edge.runtime.engine.model import TowerModel

    weights = {path.name: path.read_bytes() for path in folder.glob(f"{name}.weights")}
    model = TowerModel(name, "0" * 64, (folder / f"{name}.onnx").read_bytes(), weights)
    tower = model.size
    del weights
    began = time.perf_counter()
    model = derive(model, precision, some_inputs(name))  # type: ignore[arg-type]
    derived = time.perf_counter() - began
    options = BuildOptions(least=FP8_FROM if precision == "fp8-static" else LEAST_CAPABILITY)
    ranges = patch_ranges(MARKERS) if name == "mif" else usual_ranges(name)
    built = build_plan(model, "tensorrt_rtx", tower_regimes(model, ranges), options=options)
    return {
        "shapes": describe_ranges(ranges),
        "tower": tower,
        "derived_s": derived,
        "built_s": built.seconds,
        "plan": len(built.content),
        "gpu_weights": built.weights,
        "gpu_working": built.activations,
        "peak": peak_memory(),
    }


def some_inputs(name: str) -> dict[str, Any]:
    """Two seeded items of a tower, by which ranges of 8 bits are measured: for the time that this takes."""
    random = np.random.default_rng(SEED)
    if name == "text":
        ids = random.integers(1, 30000, (2, 64))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if name == "he":
        return {"tiles": random.integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)}
    markers = np.tile(np.arange(1, 9), (2, 1))
    return {"patches": random.integers(0, 256, (2, 8, 256, 256), dtype=np.uint8), "markers": markers}


def peak_memory() -> int:
    """Bytes of memory that this process held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def in_child(*arguments: str) -> str:
    """Run this file again with other arguments; what it printed."""
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def print_row(name: str, precision: str, row: dict[str, Any]) -> None:
    """One line of the table."""
    print(
        f"| {TITLES[name]} | {row['shapes']} | {precision} | {row['tower'] / MB:,.0f} | {row['derived_s']:.1f} "
        f"| {row['built_s']:.1f} | {row['plan'] / MB:,.0f} | {row['gpu_weights'] / MB:,.0f} "
        f"| {row['gpu_working'] / MB:,.0f} | {row['peak'] / MB:,.0f} |",
        flush=True,
    )


def main() -> None:
    """Print one row a plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towers", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["fp16"])
    parser.add_argument("--work", type=Path, default=Path("build/bench-plans"))
    parser.add_argument("--step", choices=("export", "build"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "export":
        export_tower(options.towers[0], options.work)
        return
    if options.step == "build":
        print(json.dumps(build_one(options.towers[0], options.precisions[0], options.work)))
        return
    print("| tower | shapes: least..usual..most | precision | fp32 tower MB | derive s | build s | plan MB", end=" ")
    print("| GPU weights MB | GPU working MB | peak RSS MB |")
    print("|---|---|---|" + "---|" * 7)
    for name in options.towers:
        in_child("--step", "export", "--towers", name, "--work", str(options.work))
        for precision in options.precisions:
            said = in_child("--step", "build", "--towers", name, "--precisions", precision, "--work", str(options.work))
            print_row(name, precision, json.loads(said.splitlines()[-1]))


if __name__ == "__main__":
    main()
