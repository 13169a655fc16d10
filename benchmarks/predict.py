"""The whole of `haiku-edge predict`: engine share, memory, start-up, and the plain loop beside it.

Writes two Aperio-layout slides of JPEG tiles of real tissue (see `stream.py`) into a temporary folder, the second of 16
times the area. Each run is a process of its own. The plain loop needs the checkpoint that `make bundle` leaves; without
it that row is left out.

    python benchmarks/predict.py [--side 5120] [--checkpoint build/embedded/checkpoint]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import simplejpeg
from rich.console import Console
from rich.table import Table
from stream import QUALITY, REAL, TILE, tissue_tiles, write_slide

REPEATS = 5
HELP_REPEATS = 10


def measure(slide: Path, out: Path) -> dict[str, float]:
    """Predict in this process; wall and CPU seconds by stage, and the peak memory."""
    from haiku_edge.runtime.inference import PredictOptions, predict

    began, cpu = time.perf_counter(), time.process_time()
    run = predict(slide, None, PredictOptions(out=out, force=True))
    timing = run.result.timing
    return {
        "tiles": run.tiles.num_rows,
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "embed": timing["embed tiles"],
        "engine": timing["engine, within embed"],
        "waiting": timing["waiting for tiles, within embed"],
        "search": timing["retrieve and infer"],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def engine_cpu(tiles: int) -> float:
    """CPU seconds that the engine alone takes for so many tiles: the same engine on tiles already in memory."""
    import numpy as np

    from haiku_edge.runtime.inference import PredictOptions, open_model

    model = open_model(PredictOptions())
    size = model.batching.tiles
    batch = np.random.default_rng(0).integers(0, 256, (size, model.tile_size, model.tile_size, 3), dtype=np.uint8)
    model.engine(tiles=batch)
    batches = -(-min(tiles, 640) // size)
    cpu = time.process_time()
    for _ in range(batches):
        model.engine(tiles=batch)
    return (time.process_time() - cpu) / (batches * size) * tiles


def child(*arguments: str) -> dict[str, float]:
    """Run one measurement of this file in a fresh process."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def start_up() -> tuple[float, float]:
    """Median seconds of `haiku-edge --help` and of a Python that does nothing."""

    def median(command: list[str]) -> float:
        times = []
        for _ in range(HELP_REPEATS):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        return sorted(times)[len(times) // 2]

    return median([sys.executable, "-m", "haiku_edge.cli", "--help"]), median([sys.executable, "-c", "pass"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20 * TILE)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/embedded/checkpoint"))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*map(Path, options.measure))))
    elif options.engine:
        print(json.dumps({"cpu": engine_cpu(options.engine)}))
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(Path(folder), options)


def report(folder: Path, options: argparse.Namespace) -> None:
    """Write the slides, measure every case and print the tables."""
    pictures = tissue_tiles(REAL)
    encoded = [simplejpeg.encode_jpeg(picture, QUALITY, "RGB", "420") for picture in pictures]
    console = Console(width=130)
    table = Table(
        "area",
        "tiles",
        "tiles/s",
        "wall s",
        "CPU s",
        "engine's share of CPU",
        "engine's share of embedding",
        "search s",
        "peak MB",
    )
    for name, side in (("1×", options.side), ("16×", 4 * options.side)):
        slide = folder / f"{side}.svs"
        write_slide(slide, side, pictures, encoded)
        found = child("--measure", str(slide), str(folder / "out"))
        engine = child("--engine", str(int(found["tiles"])))["cpu"]
        table.add_row(
            name,
            f"{found['tiles']:,.0f}",
            f"{found['tiles'] / found['embed']:,.0f}",
            f"{found['wall']:.1f}",
            f"{found['cpu']:.1f}",
            f"{engine / found['cpu']:.0%}",
            f"{found['engine'] / found['embed']:.0%}",
            f"{found['search']:.2f}",
            f"{found['peak']:.0f}",
        )
    console.print(table)
    shown, bare = start_up()
    console.print(f"haiku-edge --help: {shown:.2f} s (a Python that does nothing: {bare:.2f} s)")
    if options.checkpoint.exists():
        compare_with_loop(folder / f"{options.side}.svs", folder, options.checkpoint, console)
    else:
        console.print(f"no checkpoint at {options.checkpoint}: the plain loop was not run (make bundle leaves one)")


def compare_with_loop(slide: Path, folder: Path, checkpoint: Path, console: Console) -> None:
    """The plain loop with PyTorch and `predict`, in turn, as a ratio of embedding rates."""
    loop = [sys.executable, str(Path(__file__).with_name("loop.py")), str(slide), "--checkpoint", str(checkpoint)]
    ratios = []
    for _ in range(REPEATS):
        found = child("--measure", str(slide), str(folder / "out"))
        plain = json.loads(subprocess.run(loop, check=True, capture_output=True, text=True).stdout)["tiles_per_second"]
        ratios.append((found["tiles"] / found["embed"] / plain, found["tiles"] / found["embed"], plain))
    ratio, ours, plain = sorted(ratios)[len(ratios) // 2]
    console.print(
        f"embedding {ours:,.0f} tiles/s against {plain:,.0f} of the plain loop with PyTorch: {ratio:.2f}× "
        f"(median of {REPEATS} pairs, {os.cpu_count()} cores)"
    )


if __name__ == "__main__":
    main()
