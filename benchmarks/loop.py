"""The plain loop that `predict` is compared with: read a tile with OpenSlide, run the torch tower, go on.

    python benchmarks/loop.py SLIDE --checkpoint build/embedded/checkpoint [--tiles 200]

The checkpoint is what `python -m haiku_edge.export.embedded` leaves in its work folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import openslide
import torch

from haiku_edge.export.model import HeTower, read_towers


def run_loop(slide: openslide.OpenSlide, tower: HeTower, size: int, tiles: int) -> tuple[int, float, float]:
    """Embed up to `tiles` tiles of level 0, row by row.

    Returns:
        Tiles done, seconds in all, seconds of them spent reading.
    """
    width, height = slide.dimensions
    corners = [(x, y) for y in range(0, height - size + 1, size) for x in range(0, width - size + 1, size)][:tiles]
    began, reading = time.perf_counter(), 0.0
    with torch.inference_mode():
        for corner in corners:
            asked = time.perf_counter()
            tile = np.asarray(slide.read_region(corner, 0, (size, size)).convert("RGB"))
            reading += time.perf_counter() - asked
            tower(torch.from_numpy(tile.copy())[None])
    return len(corners), time.perf_counter() - began, reading


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/embedded/checkpoint"))
    parser.add_argument("--tiles", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tower = read_towers(options.checkpoint).for_inference().he
    size = tower.config.tile
    with torch.inference_mode():
        tower(torch.zeros(1, size, size, 3, dtype=torch.uint8))
    with openslide.OpenSlide(options.slide) as slide:
        count, seconds, reading = run_loop(slide, tower, size, options.tiles)
    print(
        json.dumps(
            {
                "tiles": count,
                "seconds": round(seconds, 3),
                "tiles_per_second": round(count / seconds, 1),
                "share_reading": round(reading / seconds, 3),
                "threads": options.threads,
            }
        )
    )


if __name__ == "__main__":
    main()
