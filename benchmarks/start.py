"""How long a large tower takes from the start of a process to its first vector on the processor, and where that goes.

A bundle is made once: the embedded one with a ViT-L/14 at 224 px (seeded weights, 1.2 GB in fp32) as its H&E tower, and
a file as large as a full-size text tower. Then `open_model`, as `predict` calls it, and one tile, in processes of their
own: with the tower as it is, and with the packed one that `engines build` keeps. Files are in the page cache.

    python benchmarks/start.py [--repeats 5] [--work build/bench-start] [--keep]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

WORK = Path(__file__).resolve().parents[1] / "build/bench-start"
OTHER_TOWERS = 440_000_000
"""Bytes of a full-size text tower in fp32, which a start verifies and does not run."""

SEED = 3
STEPS = ("imports", "model", "vector", "total", "cpu")
PARTS = (
    "verify the bundle",
    "read the tower",
    "open its session",
    "first vector",
    "verify the packed tower",
    "open its session, packed",
)


def make_bundle(work: Path) -> None:
    """Write the bundle, and a cache of engines that holds the packed tower as if it had passed its gate."""
    import torch

    from haiku_edge.export.bundle import write_bundle
    from haiku_edge.export.graph import trace_tower, write_graph
    from haiku_edge.export.model import HeConfig, HeTower, prepare_tower
    from haiku_edge.runtime.bundle import Description, open_bundle

    old = open_bundle()
    torch.manual_seed(SEED)
    config = HeConfig(256, side=224, stem=(), patch=14, width=1024, hidden=4096, heads=16, layers=24)
    tower = prepare_tower(HeTower(config, old.manifest.embedding_dimension).eval())
    (work / "graph").mkdir(parents=True)
    files = write_graph(tower, trace_tower(tower), work / "graph", "he")
    (work / "graph/others").write_bytes(np.random.default_rng(SEED).bytes(OTHER_TOWERS))
    said = old.manifest.model_dump(mode="json", exclude={"files"})
    said["he"] |= {"weights": [f"towers/{path.name}" for path in files.weights]}
    said |= {"name": "start", "students": []}
    contents = {name: old.read(name) for name in old.manifest.files if name != "towers/he.onnx"}
    written = {f"towers/{path.name}": path for path in (files.graph, *files.weights)}
    write_bundle(
        work / "bundle",
        Description.model_validate_json(json.dumps(said)),
        {**contents, **written, "towers/others": work / "graph/others"},
    )


def keep_packed(work: Path) -> None:
    """Put the packed tower into a cache of engines."""
    from haiku_edge.runtime.bundle import open_bundle
    from haiku_edge.runtime.engine import CachedEngine, EngineCache, GateRecord, read_model
    from haiku_edge.runtime.engine.machine import survey_machine
    from haiku_edge.runtime.engine.model import judges
    from haiku_edge.runtime.engine.onnx import save_prepacked

    bundle = open_bundle(work / "bundle")
    model, machine = read_model(bundle, bundle.manifest.he), survey_machine()
    named = machine.fingerprint("onnxruntime-cpu", model.digest, "fp32", judged_by=judges(bundle, "fp32"))
    gate = GateRecord(True, True, "float", 1.0, 1.0, 1, None, None, "not judged: a benchmark's")
    with EngineCache(work / "cache").building(named) as draft:
        save_prepacked(model, draft.folder, machine.threads)
        draft.commit(CachedEngine(named, "start, he", "2026-01-01", 1.0, gate, 1.0, 1))


def start(work: Path, spawned: float) -> dict[str, float]:
    """Seconds of each step of this very process, from when it was spawned; memory in MB."""
    from haiku_edge.runtime.inference import PredictOptions, open_model

    imported = time.time()
    model = open_model(PredictOptions(bundle=work / "bundle", device="cpu", tower="teacher"))
    opened = time.time()
    model.engine(tiles=np.zeros((1, model.tile_size, model.tile_size, 3), np.uint8))
    ended = time.time()
    return {
        "imports": imported - spawned,
        "model": opened - imported,
        "vector": ended - opened,
        "total": ended - spawned,
        "cpu": time.process_time(),
        "peak": memory("VmHWM"),
        "private": memory("RssAnon"),
    }


def parts(work: Path) -> dict[str, float]:
    """Seconds of what a start consists of, one after the other; of the processor, all threads together."""
    from haiku_edge.runtime.bundle import open_bundle
    from haiku_edge.runtime.engine import EngineCache, plain_engine, read_model
    from haiku_edge.runtime.engine.onnx import PREPACKED, open_prepacked

    found: dict[str, float] = {}
    with part(found, PARTS[0]):
        bundle = open_bundle(work / "bundle")
    with part(found, PARTS[1]):
        tower = read_model(bundle, bundle.manifest.he)
    with part(found, PARTS[2]):
        engine = plain_engine(tower.graph, weights=tower.weights)
    tile = np.zeros((1, bundle.manifest.he.tile_size, bundle.manifest.he.tile_size, 3), np.uint8)
    with part(found, PARTS[3]):
        engine(tiles=tile)
    cache = EngineCache(work / "cache")
    (entry,) = cache.entries()
    with part(found, PARTS[4]):
        paths = [cache.path(entry, name) for name in PREPACKED]
    with part(found, PARTS[5]):
        open_prepacked(paths[0], engine.device)
    return found


@contextlib.contextmanager
def part(found: dict[str, float], name: str) -> Iterator[None]:
    """Note how long a block takes, and how much of the processor."""
    began, cpu = time.perf_counter(), time.process_time()
    yield
    found |= {name: time.perf_counter() - began, f"{name}, CPU": time.process_time() - cpu}


def memory(field: str) -> float:
    """A field of this process's memory, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) / 1024


def child(step: str, work: Path, cache: str = "cache") -> dict[str, float]:
    """Run one step of this file in a fresh process, as `predict` runs its own, with a cache of engines."""
    from haiku_edge.runtime.isolation import HUGE_PAGES

    environment = {**HUGE_PAGES, **os.environ, "HAIKU_EDGE_CACHE": str(work / cache)}
    command = [sys.executable, __file__, "--work", str(work), "--step", step, "--spawned", str(time.time())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Prepare, measure and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--keep", action="store_true", help="keep the bundle and the cache for another run")
    parser.add_argument("--step", choices=STEPS_IN_CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--spawned", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(STEPS_IN_CHILDREN[options.step](options.work, options.spawned)))
        return
    if not (options.work / "done").exists():
        shutil.rmtree(options.work, ignore_errors=True)
        child("prepare", options.work)
        (options.work / "done").touch()
    report(options.work, options.repeats)
    if not options.keep:
        shutil.rmtree(options.work)


def prepare(work: Path, _: float) -> dict[str, float]:
    """Make bundle and cache."""
    make_bundle(work)
    keep_packed(work)
    return {}


def report(work: Path, repeats: int) -> None:
    """Print the two tables."""
    print("| H&E tower | imports s | model s | first vector s | from start s | CPU s | peak MB | private MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, cache in (("as it is", "empty"), ("packed", "cache")):
        runs = [child("start", work, cache) for _ in range(repeats)]
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        seconds = " | ".join(f"{middle[key]:.2f}" for key in STEPS)
        print(f"| {name} | {seconds} | {middle['peak']:,.0f} | {middle['private']:,.0f} |", flush=True)
    runs = [child("parts", work) for _ in range(repeats)]
    print("\n| part, alone | s | CPU s |\n|---|---|---|")
    for name in PARTS:
        seconds, cpu = (statistics.median(run[key] for run in runs) for key in (name, f"{name}, CPU"))
        print(f"| {name} | {seconds:.2f} | {cpu:.2f} |")


STEPS_IN_CHILDREN: dict[str, Callable[[Path, float], dict[str, float]]] = {
    "prepare": prepare,
    "start": start,
    "parts": lambda work, _: parts(work),
}

if __name__ == "__main__":
    main()
