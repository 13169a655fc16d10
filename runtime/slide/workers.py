"""The threads behind a tile stream, and the batches that they fill.

Work flows with the data. Each file tile is one job, taken in the order in which tiles need it; whoever decodes the
last file tile that a tile needs puts that tile among the ready ones, and the next free thread cuts it into its place
in a preallocated batch. So no thread waits for another's decode, every file tile is decoded once, and where a result
lands never depends on who made it or when.
"""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .quality import measure_sharpness
from .region import paste
from .schedule import Schedule
from .types import Slide, UnreadableTileError

RING = 4
"""Batches held: the one that the consumer reads, the one before it (still valid), and two being filled."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive tiles of the plan.

    Attributes:
        first: Index in the plan of the first of them.
        tiles: (m, size, size, 3) uint8 RGB; white where unreadable. A view, valid until the next-but-one batch is
            asked for.
        sharpness: (m,) float32, see `measure_sharpness`; NaN where unreadable.
        unreadable: Index in the plan, and reason, of each tile that could not be read.
    """

    first: int
    tiles: NDArray[np.uint8]
    sharpness: NDArray[np.float32]
    unreadable: dict[int, str]


class Workers:
    """One run of the threads over a schedule. `_lock` guards all that changes.

    Attributes:
        batches: Number of batches that the whole plan makes.
        decoded: File tiles decoded, or found unreadable, so far.
    """

    def __init__(self, slide: Slide, schedule: Schedule, *, size: int, batch_size: int, first: int) -> None:
        """Allocate the ring; `first` is the tile to begin at, a multiple of `batch_size`."""
        tiles = len(schedule.left)
        self.batches = -(-tiles // batch_size)
        self.decoded = 0
        self._slide, self._schedule = slide, schedule
        self._batch_size, self._tiles = batch_size, tiles
        level = slide.info.levels[schedule.level]
        self._spills = (
            schedule.width > level.columns * level.tile_width or schedule.height > level.rows * level.tile_height
        )
        self._buffers = [
            np.empty((min(batch_size, tiles), size, size, 3), np.uint8) for _ in range(min(RING, self.batches))
        ]
        self._sharpness = [np.empty(len(buffer), np.float32) for buffer in self._buffers]
        self._unreadable: list[dict[int, str]] = [{} for _ in self._buffers]
        self._unfinished = [min(batch_size, tiles - i * batch_size) for i in range(self.batches)]
        self._uncut = tiles - first
        self._missing = np.diff(schedule.need_starts).tolist()
        self._uses = np.diff(schedule.user_starts).tolist()
        self._file_tiles: dict[int, NDArray[np.uint8] | str] = {}
        self._ready: list[int] = []
        self._next_job = 0
        self._open_until = 0
        self._error: BaseException | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._work_to_do = threading.Condition(self._lock)
        self._batch_done = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []

    def start(self, threads: int) -> None:
        """Start so many threads."""
        # OpenCV's own threads would fight these for the same cores over pictures too small to share.
        cv2.setNumThreads(1)
        self._threads = [threading.Thread(target=self._work, name=f"tiles-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every thread finish the step it is in, and wait for that."""
        with self._lock:
            self._stopped = True
            self._work_to_do.notify_all()
        for thread in self._threads:
            thread.join()
        self._file_tiles.clear()

    def take(self, number: int) -> Batch:
        """Wait for a batch. Asking for it gives the buffer of the batch before the last back to the threads.

        Raises:
            Exception: Whatever a thread raised.
        """
        slot = number % len(self._buffers)
        with self._lock:
            self._open_until = (number - 1 + RING) * self._batch_size
            self._work_to_do.notify_all()
            while self._unfinished[number] and self._error is None:
                self._batch_done.wait()
            if self._error is not None:
                raise self._error
            unreadable, self._unreadable[slot] = self._unreadable[slot], {}
        first = number * self._batch_size
        count = min(self._batch_size, self._tiles - first)
        sharpness = self._sharpness[slot][:count].copy()
        return Batch(first, self._buffers[slot][:count], sharpness, dict(sorted(unreadable.items())))

    def _work(self) -> None:
        """What each thread does until nothing is left."""
        size = self._buffers[0].shape[1]
        height, width = self._schedule.height, self._schedule.width
        canvas = None if (width, height) == (size, size) else np.empty((height, width, 3), np.uint8)
        try:
            while (step := self._next_step()) is not None:
                job, tile = step
                if tile is None:
                    self._keep(job, self._decode(job))
                else:
                    self._finish(tile, self._cut(tile, canvas))
        except BaseException as error:
            with self._lock:
                self._error = error
                self._stopped = True
                self._work_to_do.notify_all()
                self._batch_done.notify_all()

    def _next_step(self) -> tuple[int, int | None] | None:
        """The job to decode, or the tile to cut, that comes first; waits while the ring is full; None at the end."""
        starts, users = self._schedule.user_starts, self._schedule.users
        with self._lock:
            while not self._stopped and self._uncut:
                if self._ready and self._ready[0] < self._open_until:
                    return -1, heapq.heappop(self._ready)
                job = self._next_job
                if job < len(self._uses) and users[starts[job]] < self._open_until:
                    self._next_job += 1
                    return job, None
                self._work_to_do.wait()
        return None

    def _decode(self, job: int) -> NDArray[np.uint8] | str:
        """The file tile of a job, or why it can't be read."""
        level = self._schedule.level
        column, row = int(self._schedule.job_columns[job]), int(self._schedule.job_rows[job])
        try:
            return self._slide.read_tile(level, column, row)
        except UnreadableTileError as error:
            return f"file tile in column {column}, row {row} of level {level}: {error}"

    def _keep(self, job: int, file_tile: NDArray[np.uint8] | str) -> None:
        """File a decoded tile, and put the tiles that waited for nothing else among the ready ones."""
        users = self._schedule.users[self._schedule.user_starts[job] : self._schedule.user_starts[job + 1]].tolist()
        with self._lock:
            self.decoded += 1
            self._file_tiles[job] = file_tile
            for tile in users:
                self._missing[tile] -= 1
                if not self._missing[tile]:
                    heapq.heappush(self._ready, tile)
                    self._work_to_do.notify()

    def _cut(self, tile: int, canvas: NDArray[np.uint8] | None) -> str | None:
        """Put one tile into its place; returns why it can't be read, if so."""
        number, place = divmod(tile, self._batch_size)
        slot = number % len(self._buffers)
        target = self._buffers[slot][place]
        source = target if canvas is None else canvas
        if self._spills:
            source[:] = 255
        for file_tile, x, y in self._pieces(tile):
            if isinstance(file_tile, str):
                target[:] = 255
                self._sharpness[slot][place] = np.nan
                return file_tile
            paste(source, file_tile, x, y)
        if canvas is not None:
            _resize(canvas, target)
        self._sharpness[slot][place] = measure_sharpness(target)
        return None

    def _pieces(self, tile: int) -> list[tuple[NDArray[np.uint8] | str, int, int]]:
        """The file tiles under a tile, each with its place on the tile."""
        schedule = self._schedule
        level = self._slide.info.levels[schedule.level]
        left, upper = int(schedule.left[tile]), int(schedule.upper[tile])
        jobs = schedule.needs[schedule.need_starts[tile] : schedule.need_starts[tile + 1]].tolist()
        columns = min((left + schedule.width - 1) // level.tile_width, level.columns - 1) - left // level.tile_width + 1
        x, y = -(left % level.tile_width), -(upper % level.tile_height)
        return [
            (self._file_tiles[job], x + i % columns * level.tile_width, y + i // columns * level.tile_height)
            for i, job in enumerate(jobs)
        ]

    def _finish(self, tile: int, reason: str | None) -> None:
        """Count a tile as done and forget the file tiles that nothing needs any more."""
        schedule = self._schedule
        jobs = schedule.needs[schedule.need_starts[tile] : schedule.need_starts[tile + 1]].tolist()
        number = tile // self._batch_size
        with self._lock:
            for job in jobs:
                self._uses[job] -= 1
                if not self._uses[job]:
                    del self._file_tiles[job]
            if reason is not None:
                self._unreadable[number % len(self._buffers)][tile] = reason
            self._uncut -= 1
            self._unfinished[number] -= 1
            if not self._unfinished[number]:
                self._batch_done.notify()
            if not self._uncut:
                self._work_to_do.notify_all()


def _resize(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Resize into place: the mean over the area that each pixel covers when shrinking, bicubic when enlarging."""
    size = (target.shape[1], target.shape[0])
    across, down = source.shape[1] / size[0], source.shape[0] / size[1]
    if min(across, down) < 1:
        cv2.resize(source, size, dst=target, interpolation=cv2.INTER_CUBIC)
        return
    if max(across, down) < 2:
        # Areas of broken size take OpenCV twice as long as going through exactly two: within 1 grey level of each
        # other on tissue (0.1 from 0.2527 to 0.5 µm/px), and both 1.6 from Pillow's bicubic.
        source = cv2.resize(source, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR)
    cv2.resize(source, size, dst=target, interpolation=cv2.INTER_AREA)
