"""A slide in memory whose every pixel the test has painted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.slide.types import Level, Resolution, SlideInfo, UnreadableTileError


class PaintedSlide:
    """Keeps the `Slide` protocol over a pyramid of numpy arrays.

    Attributes:
        reads: How often each file tile (level, column, row) was decoded.
        threads: Names of the threads that read.
    """

    def __init__(
        self,
        levels: list[NDArray[np.uint8]],
        *,
        mpp: tuple[float, float] = (0.5, 0.5),
        tile: tuple[int, int] = (256, 256),
        corrupt: frozenset[tuple[int, int, int]] = frozenset(),
        pause: float = 0.0,
    ) -> None:
        self._pixels, self._tile, self._corrupt, self._pause = levels, tile, corrupt, pause
        geometry = tuple(
            Level(pixels.shape[1], pixels.shape[0], *tile, downsample=levels[0].shape[1] / pixels.shape[1])
            for pixels in levels
        )
        self.info = SlideInfo("painted", "painted", "memory", Resolution(*mpp, "painted"), geometry, (Path("painted"),))
        self.reads: Counter[tuple[int, int, int]] = Counter()
        self.threads: set[str] = set()
        self._lock = threading.Lock()

    def read_tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        with self._lock:
            self.reads[level, column, row] += 1
            self.threads.add(threading.current_thread().name)
        if self._pause:
            # Threads must overtake each other for the order of work to differ from run to run.
            time.sleep(self._pause * ((column * 7 + row * 13) % 5))
        if (level, column, row) in self._corrupt:
            raise UnreadableTileError("painted as corrupt")
        width, height = self._tile
        inside = self._pixels[level][row * height : (row + 1) * height, column * width : (column + 1) * width]
        tile = np.full((height, width, 3), 255, np.uint8)
        tile[: inside.shape[0], : inside.shape[1]] = inside
        return tile

    def close(self) -> None:
        pass


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pixels that are all different enough for a shift of one to show."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def chequers(width: int, height: int, side: int) -> NDArray[np.uint8]:
    """Black and white squares of so many pixels, black at the origin."""
    squares = (np.arange(height)[:, None] // side + np.arange(width)[None] // side) % 2
    return np.repeat((squares * 255).astype(np.uint8)[:, :, None], 3, axis=2)
