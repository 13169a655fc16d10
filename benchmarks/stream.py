"""How fast tiles come out of a slide, against what this machine can decode, and whether memory stays flat.

Writes an Aperio-layout SVS of 256-pixel JPEG tiles of real tissue (CMU-1-Small-Region.svs where it is at hand, else
painted texture), and a second one of 16 times the area, into a temporary folder; then measures each case in a process
of its own.

    python benchmarks/stream.py [--side 10240] [--threads 2] [--slide CMU-1-Small-Region.svs]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.slide import workers
from haiku_edge.runtime.slide.grid import plan_tiles
from haiku_edge.runtime.slide.open import open_slide
from haiku_edge.runtime.slide.overview import read_overview
from haiku_edge.runtime.slide.region import read_region
from haiku_edge.runtime.slide.stream import TileStream
from haiku_edge.runtime.slide.tissue import find_masks

TILE = 256
MPP = 0.5
OVERVIEW = 16
QUALITY = 75
REAL = Path(__file__).resolve().parents[1] / "../shared/data/svs/CMU-1-Small-Region.svs"

CASES = {
    "384 px, unaligned": (384, MPP),
    "256 px, aligned": (256, MPP),
    "256 px, shrunk 2×": (256, 2 * MPP),
    "384 px, shrunk 1.6×": (384, 1.6 * MPP),
}


def tissue_tiles(source: Path) -> list[NDArray[np.uint8]]:
    """Different 256-pixel pictures full of tissue."""
    if not source.exists():
        generator = np.random.default_rng(0)
        tint = np.array([200, 120, 180])
        fields = [cv2.GaussianBlur(generator.normal(0, 90, (TILE, TILE, 3)), (0, 0), 1.5) for _ in range(64)]
        return [(tint + field * [2, 3, 1.5]).clip(0, 255).astype(np.uint8) for field in fields]
    slide = open_slide(source)
    level = slide.info.levels[0]
    pixels = read_region(slide, 0, 0, 0, level.width, level.height)
    slide.close()
    places = np.ndindex((level.height - TILE) // 64, (level.width - TILE) // 64)
    crops = (pixels[64 * y : 64 * y + TILE, 64 * x : 64 * x + TILE] for y, x in places)
    return [np.ascontiguousarray(crop) for crop in crops if (crop[:, :, 1] < 215).mean() > 0.8]


def write_slide(path: Path, side: int, pictures: list[NDArray[np.uint8]], encoded: list[bytes]) -> None:
    """A slide of so many pixels a side whose tiles are those pictures in random order, and a level 16 times smaller."""
    choice = np.random.default_rng(1).integers(0, len(pictures), (side // TILE, side // TILE))
    size = (TILE // OVERVIEW, TILE // OVERVIEW)
    small = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
    low = small[choice].swapaxes(1, 2).reshape(side // OVERVIEW, side // OVERVIEW, 3)
    description = f"Aperio Image Library v12\r\n{side}x{side} ({TILE}x{TILE}) JPEG/RGB|AppMag = 20|MPP = {MPP}"
    common = {"photometric": "ycbcr", "compression": "jpeg", "subsampling": (2, 2), "metadata": None}
    common |= {"tile": (TILE, TILE), "dtype": "uint8", "description": description}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        stored = (encoded[index] for index in choice.flat)
        tiff.write(stored, shape=(side, side, 3), **common)
        tiff.write(encode(low), shape=low.shape, **common)


def encode(pixels: NDArray[np.uint8]) -> Iterator[bytes]:
    """The JPEG tiles of a level, row by row, white beyond its edge."""
    rows, columns = (-(-side // TILE) for side in pixels.shape[:2])
    whole = np.full((rows * TILE, columns * TILE, 3), 255, np.uint8)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    for row, column in np.ndindex(rows, columns):
        tile = whole[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        yield simplejpeg.encode_jpeg(np.ascontiguousarray(tile), QUALITY, "RGB", "420")


def measure(path: Path, case: str, threads: int, batch_size: int, sharpness: bool) -> dict[str, float]:
    """Drain one stream; wall and CPU seconds of the stream alone, and the peak memory of the process."""
    size, mpp = CASES[case]
    if not sharpness:
        workers.measure_sharpness = lambda tile: 0.0
    slide = open_slide(path)
    overview = read_overview(slide)
    plan = plan_tiles(slide.info, overview, find_masks(overview), size=size, mpp=mpp)
    start, cpu = time.perf_counter(), time.process_time()
    with TileStream(slide, plan, batch_size=batch_size, threads=threads) as stream:
        tiles = sum(len(batch.tiles) for batch in stream)
        decoded, file_tiles = stream.decoded, stream.file_tiles
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"tiles": tiles, "wall": wall, "cpu": cpu, "decoded": decoded, "once": decoded / file_tiles, "peak": peak}


def decode_limit(encoded: list[bytes], threads: int, count: int = 4000) -> tuple[float, float]:
    """File tiles a second, and CPU seconds a file tile, of the JPEG decoder with nothing around it."""
    jobs = [encoded[i % len(encoded)] for i in range(count)]

    def decode(part: list[bytes]) -> None:
        for data in part:
            simplejpeg.decode_jpeg(data)

    start, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, [jobs[i::threads] for i in range(threads)]))
    return count / (time.perf_counter() - start), (time.process_time() - cpu) / count


def child(path: Path, case: str, threads: int, batch_size: int, sharpness: bool) -> dict[str, float]:
    """`measure` in a fresh process, so that its peak memory is its own."""
    arguments = [str(path), case, str(threads), str(batch_size), str(int(sharpness))]
    done = subprocess.run(
        [sys.executable, __file__, "--measure", *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=40 * TILE)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--slide", type=Path, default=REAL)
    parser.add_argument("--folder", type=Path, help="keep the slides here")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        path, case, threads, batch, sharpness = options.measure
        print(json.dumps(measure(Path(path), case, int(threads), int(batch), bool(int(sharpness)))))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(options.folder or Path(folder), options)


def report(folder: Path, options: argparse.Namespace) -> None:
    """Write the slides, run every case and print the table."""
    pictures = tissue_tiles(options.slide)
    encoded = [simplejpeg.encode_jpeg(picture, QUALITY, "RGB", "420") for picture in pictures]
    slides = {"1×": (folder / "once.svs", options.side), "16×": (folder / "sixteen.svs", 4 * options.side)}
    for path, side in slides.values():
        if not path.exists():
            write_slide(path, side, pictures, encoded)
    limit, cost = decode_limit(encoded, options.threads)
    console = Console(width=130)
    console.print(
        f"JPEG decoder alone, {options.threads} threads: {limit:,.0f} file tiles/s, {cost * 1e3:.3f} CPU ms each "
        f"(mean {np.mean([len(data) for data in encoded]) / 1024:.1f} kB)"
    )
    columns = (
        "case",
        "area",
        "tiles",
        "tiles/s",
        "of the limit",
        "CPU ms/tile",
        "decoding",
        "decodes/file tile",
        "peak MB",
    )
    table = Table(*columns)
    runs = [(case, "1×", True) for case in CASES]
    runs += [("384 px, unaligned", "1×", False), ("384 px, unaligned", "16×", True)]
    for case, area, sharpness in runs:
        found = child(slides[area][0], case, options.threads, options.batch, sharpness)
        rate, decodes = found["tiles"] / found["wall"], found["decoded"] / found["tiles"]
        table.add_row(
            case + ("" if sharpness else ", no sharpness"),
            area,
            f"{found['tiles']:,.0f}",
            f"{rate:,.0f}",
            f"{rate * decodes / limit:.0%}",
            f"{found['cpu'] / found['tiles'] * 1e3:.3f}",
            f"{decodes * cost * 1e3:.3f}",
            f"{found['once']:.3f}",
            f"{found['peak']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
