"""How near the direct slide readers come to the raw JPEG decode limit of this machine.

    python benchmarks/decode.py [SLIDE ...]

Each slide's finest level is read tile by tile through `open_slide` and, as the limit, the same JPEG bytes are decoded
from memory by simplejpeg; on one thread and on two, in turns. The best of several rounds counts, and the share is taken
of processor time, because neighbours on a shared machine distort the clock. Without SLIDE a slide is made.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import tifffile
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.slide import Slide, open_slide
from haiku_edge.runtime.slide.dicom_jpeg import DicomJpegReader
from haiku_edge.runtime.slide.tiff import TiffJpegReader

TILES_A_ROUND = 2000
ROUNDS = 5
SIDE = 8192
"""Pixels of the made slide."""


def make_slide(path: Path) -> None:
    """A tiled TIFF of 256-px JPEG tiles, 4:2:0 at quality 75, with grain as tissue has it (some 14 kB a tile)."""
    random = np.random.default_rng(0)
    coarse = random.integers((150, 70, 140), (250, 200, 240), (SIDE // 16, SIDE // 16, 3)).astype(np.uint8)
    pixels = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    grain = cv2.GaussianBlur(random.normal(0, 60, (SIDE, SIDE)).astype(np.float32), (0, 0), 1.0)
    pixels = np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 75},
        subsampling=(2, 2),
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )


def compressed_tiles(slide: Slide) -> list[bytes]:
    """Complete JPEG streams of the finest level's tiles, as the reader hands them to the decoder."""
    level = slide.info.levels[0]
    places = itertools.product(range(level.rows), range(level.columns))
    if isinstance(slide, TiffJpegReader):
        page, before = slide._pages[0], slide._prefixes[0]
        with slide.info.files[0].open("rb") as file:
            tiles = []
            for offset, count in zip(page.offsets, page.counts, strict=True):
                file.seek(int(offset))
                tiles.append(before + file.read(int(count))[2:])
            return tiles
    if isinstance(slide, DicomJpegReader):
        grid = slide._grids[0]
        return [grid.read(int(grid.frame[row, column])) for row, column in places]
    raise SystemExit(f"{slide.info.name} is read by {slide.info.reader}, which is no direct reader")


def rates(work: Callable[[int], object], count: int, threads: int) -> tuple[float, float]:
    """Tiles a second by the clock and by processor time, when `work` is called on tiles 0..count−1, over and over."""
    numbers = [number % count for number in range(TILES_A_ROUND)]
    with ThreadPoolExecutor(threads) as pool:
        started, spent = time.perf_counter(), time.process_time()
        for _ in pool.map(lambda part: [work(n) for n in part] and None, np.array_split(numbers, threads * 8)):
            pass
        clock, processor = time.perf_counter() - started, time.process_time() - spent
    return len(numbers) / clock, len(numbers) / processor


def compare(path: Path, table: Table) -> None:
    """Add one slide's rows to the table."""
    slide = open_slide(path)
    level = slide.info.levels[0]
    streams = compressed_tiles(slide)

    def read(number: int) -> object:
        return slide.read_tile(0, int(number) % level.columns, int(number) // level.columns)

    def decode(number: int) -> object:
        return simplejpeg.decode_jpeg(streams[number], "RGB")

    kilobytes = sum(map(len, streams)) / len(streams) / 1000
    for threads in (1, 2):
        rounds = [(*rates(read, len(streams), threads), *rates(decode, len(streams), threads)) for _ in range(ROUNDS)]
        clock, processor, limit_clock, limit = (max(column) for column in zip(*rounds, strict=True))
        tile = f"{level.tile_width} px, {kilobytes:.1f} kB"
        row = (f"{clock:,.0f}", f"{limit_clock:,.0f}", f"{processor:,.0f}", f"{limit:,.0f}", f"{processor / limit:.0%}")
        table.add_row(slide.info.name[:18], slide.info.reader, tile, str(threads), *row)
    slide.close()


def main(paths: Sequence[str]) -> None:
    """Print the table for the given slides, or for one made here."""
    table = Table("slide", "reader", "tile", "threads", "tiles/s", "limit/s", "tiles/CPU-s", "limit/CPU-s", "share")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.tif"
        if not paths:
            make_slide(made)
        for path in [Path(path) for path in paths] or [made]:
            compare(path, table)
    Console(width=120).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
