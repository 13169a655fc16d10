"""What SPADE's routing and experts add to an image tower's time, and what hard or partial routing changes.

    python benchmarks/spade.py [--full] [--threads 2] [--batches 1 8]

By default the image tower is a ViT-S/16 at 224 px; --full takes a ViT-L/16 (UNI's size), which needs 4 GB of memory and
a few minutes. The mixture has the published size either way: 16 experts over 240 centroids, 256 entries. Weights are
random, as time does not depend on them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from haiku_edge.export.graph import trace_spade, write_graph
from haiku_edge.export.graph.convert import serialise, trace_module
from haiku_edge.export.graph.spade import trace_mixture
from haiku_edge.export.model import (
    Mixture,
    MixtureConfig,
    ResidualHead,
    SpadeTower,
    TileEncoder,
    TileEncoderConfig,
    VitConfig,
)
from haiku_edge.runtime.engine import OnnxEngine, plain_engine

SIZES = {
    "ViT-S/16-224": VitConfig(width=384, depth=12, heads=6, hidden=1536),
    "ViT-L/16-224": VitConfig(),
}
TOPS = (None, 1, 2, 4)
ROWS = 300
REPEATS = 5
_SPREAD = 0.3

Run = Callable[[], object]


def random_mixture(features: int, top: int | None = None) -> Mixture:
    """A mixture of the published size; the same for each seed, whatever its routing."""
    torch.manual_seed(7)
    config = MixtureConfig(features, top=top)
    heads = [ResidualHead(features).eval() for _ in range(config.experts)]
    centroids = torch.randn(config.centroids, features)
    return Mixture(config, centroids, torch.arange(config.centroids) % config.experts, heads)


@dataclass(frozen=True, slots=True)
class Taken:
    """The least that a run took, in milliseconds: of the clock, and of the processor over all threads."""

    clock: float
    processor: float


def least(runs: Mapping[str, Run], repeats: int) -> dict[str, Taken]:
    """Time each run; they take turns, so that a busy moment of the machine hits all."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {name: Taken(*(1e3 * min(column) for column in zip(*rows, strict=True))) for name, rows in times.items()}


def open_graphs(vit: VitConfig, threads: int) -> dict[str, OnnxEngine]:
    """The fused graph, the mixture alone, and of it the routing alone."""
    mixture = random_mixture(vit.dimension)
    tower = SpadeTower(TileEncoder(TileEncoderConfig(vit)).eval(), mixture, takes=224)
    with tempfile.TemporaryDirectory() as folder:
        files = write_graph(tower, trace_spade(tower), Path(folder), "spade")
        del tower
        fused = plain_engine(files.graph.read_bytes(), weights=files.read_weights(), threads=threads)
    sample = {"features": torch.randn(3, vit.dimension)}
    routing = trace_module(mixture.router, sample, {"features": {0: torch.export.Dim("batch")}})
    parts = {"mixture": serialise(trace_mixture(mixture)), "routing": serialise(routing)}
    return {"fused": fused} | {name: plain_engine(graph, threads=threads) for name, graph in parts.items()}


def measure_time(name: str, threads: int, batches: Sequence[int], repeats: int) -> None:
    """Print a row a batch."""
    vit = SIZES[name]
    graphs = open_graphs(vit, threads)
    print(f"{name}, ONNX Runtime, {threads} threads, least of {repeats}; shares are of processor time")
    print("| batch | fused ms | mixture ms | of it routing ms | mixture's share |\n|---|---|---|---|---|")
    for batch in batches:
        random = np.random.default_rng(batch)
        tiles = random.integers(0, 256, (batch, 224, 224, 3)).astype(np.uint8)
        features = random.normal(size=(batch, vit.dimension)).astype(np.float32)
        runs: dict[str, Run] = {"fused": partial(graphs["fused"], tiles=tiles)}
        runs |= {part: partial(graphs[part], features=features) for part in ("mixture", "routing")}
        taken = least(runs, repeats)
        clock = " | ".join(f"{taken[part].clock:.2f}" for part in runs)
        share = taken["mixture"].processor / taken["fused"].processor
        print(f"| {batch} | {clock} | {share:.2%} |", flush=True)


def draw_features(centroids: NDArray[np.float32], near: bool) -> NDArray[np.float32]:
    """(ROWS, d) float32: each beside a centroid, or on the way between two."""
    random = np.random.default_rng(3)
    first, second = (centroids[random.integers(0, len(centroids), ROWS)] for _ in range(2))
    share = 0.0 if near else random.uniform(0.45, 0.55, (ROWS, 1))
    noise = _SPREAD * random.normal(size=first.shape)
    return (first + share * (second - first) + noise).astype(np.float32)


def measure_routing(features: int) -> None:
    """Print how far hard and partial routing are from soft routing."""
    print(f"\nrouting against the published soft routing, {ROWS} features of length {features} a row")
    print("| features | routing | largest difference of a weight | of an embedding's entry | least cosine |")
    print("|---|---|---|---|---|")
    soft = random_mixture(features)
    for name, near in (("beside a centroid", True), ("between two", False)):
        drawn = draw_features(soft.router.centroids.numpy(), near)
        wanted, shares = soft.embed(drawn)
        for top in TOPS[1:]:
            embedding, weights = random_mixture(features, top).embed(drawn)
            cosines = (embedding * wanted).sum(1) / (np.linalg.norm(embedding, axis=1) * np.linalg.norm(wanted, axis=1))
            print(
                f"| {name} | {'hard' if top == 1 else f'top {top}'} | {np.abs(weights - shares).max():.2g} "
                f"| {np.abs(embedding - wanted).max():.2g} | {cosines.min():.4f} |"
            )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure_time("ViT-L/16-224" if options.full else "ViT-S/16-224", options.threads, options.batches, options.repeats)
    measure_routing(1024)


if __name__ == "__main__":
    main()
