"""Tiles in batches: threads read and decode ahead while the consumer computes."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Self

from ..errors import CorruptSlideError, UsageError
from .grid import TilePlan
from .schedule import CACHE_BYTES, make_schedule
from .types import Slide
from .workers import Batch, Workers

UNREADABLE_SHARE = 0.05
"""A slide with more unreadable tiles than this is refused: beyond it, what is missing may be what matters."""


class TileStream:
    """The tiles of a plan, batch by batch, in the plan's order.

    Iterating starts the threads; leaving the loop early, closing the iterator or leaving the stream's `with` block
    stops them. Bytes are identical for any number of threads, any batch size and any `first`.
    """

    def __init__(
        self,
        slide: Slide,
        plan: TilePlan,
        *,
        batch_size: int,
        threads: int,
        first: int = 0,
        unreadable_share: float = UNREADABLE_SHARE,
        unreadable_before: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Lay out the work; nothing is read yet.

        Args:
            slide: An open slide.
            plan: Its tiles.
            batch_size: Tiles of a batch; only the last may be shorter.
            threads: Threads that read and decode.
            first: Tile to begin at, a multiple of `batch_size`, for a run that goes on.
            unreadable_share: Most of the plan's tiles that may be unreadable, 0 to 1.
            unreadable_before: Unreadable tiles among those before `first`.
            cache_bytes: Most that decoded file tiles may take while they wait for the next row of tiles.

        Raises:
            UsageError: A number is out of its range.
        """
        if batch_size < 1 or threads < 1 or first < 0 or first % batch_size:
            raise UsageError(
                f"A stream needs at least one thread and one tile a batch, and starts at a multiple of the batch size; "
                f"got batch_size={batch_size}, threads={threads}, first={first}."
            )
        self._slide, self._plan = slide, plan
        self._batch_size, self._threads, self._first = batch_size, threads, first
        self._limit, self._unreadable_before = unreadable_share, unreadable_before
        self._schedule = make_schedule(slide.info, plan, first, cache_bytes)
        self._started: list[tuple[Workers, Generator[Batch]]] = []

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the threads of every iterator of this stream."""
        for _, batches in self._started:
            batches.close()

    @property
    def decoded(self) -> int:
        """File tiles decoded, or found unreadable, so far."""
        return sum(workers.decoded for workers, _ in self._started)

    @property
    def file_tiles(self) -> int:
        """How many decodes the whole stream takes."""
        return len(self._schedule.job_rows)

    def __iter__(self) -> Generator[Batch]:
        """Start the threads and give the batches.

        Raises:
            CorruptSlideError: More than `unreadable_share` of the plan's tiles can't be read.
        """
        size = self._plan.grid.size
        workers = Workers(self._slide, self._schedule, size=size, batch_size=self._batch_size, first=self._first)
        batches = self._give(workers)
        self._started.append((workers, batches))
        return batches

    def _give(self, workers: Workers) -> Generator[Batch]:
        unreadable = self._unreadable_before
        try:
            workers.start(self._threads)
            for number in range(self._first // self._batch_size, workers.batches):
                batch = workers.take(number)
                unreadable += len(batch.unreadable)
                self._refuse_if_corrupt(unreadable, batch)
                yield batch
        finally:
            workers.stop()

    def _refuse_if_corrupt(self, unreadable: int, batch: Batch) -> None:
        total = len(self._plan.grid)
        if unreadable <= self._limit * total:
            return
        reason = next(iter(batch.unreadable.values()), "")
        raise CorruptSlideError(
            f"{self._slide.info.name} is damaged: {unreadable} of its {total} tiles could not be read up to tile "
            f"{batch.first + len(batch.tiles)}, more than the {self._limit:.0%} that may be missing ({reason}). "
            "Copy the file again from where it was made, or rescan."
        )
