"""Tiles to vectors: the engine's loop over the stream, chunk by chunk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..engine import Engine
from ..slide import Batch, Slide, TilePlan, TileStream
from .batching import SMALL, Batching
from .chunks import Chunk, ChunkStore
from .progress import Progress


@dataclass(frozen=True, slots=True)
class EmbeddedTiles:
    """Every tile of the plan as a vector.

    Attributes:
        vectors: (n, d) float32 unit vectors, in plan order.
        sharpness: (n,) float32.
        unreadable: Tile index → why.
        resumed: How many tiles came from an earlier, unfinished run.
        engine_seconds: Wall time inside the engine.
        stream_seconds: Wall time that the engine waited for tiles.
    """

    vectors: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    unreadable: dict[int, str]
    resumed: int
    engine_seconds: float
    stream_seconds: float


def embed_tiles(
    slide: Slide,
    plan: TilePlan,
    engine: Engine,
    store: ChunkStore,
    progress: Progress,
    *,
    threads: int,
    batching: Batching = SMALL,
) -> EmbeddedTiles:
    """Embed all tiles of a plan, going on from the chunks that an earlier run finished.

    Raises:
        CorruptSlideError: Too many tiles can't be read.
        EngineError: The engine failed; finished chunks stay.
        DiskFullError: A chunk could not be written.
    """
    total = len(plan.grid.origins)
    done = _load_finished(store, -(-total // batching.chunk))
    resumed = min(len(done) * batching.chunk, total)
    progress.start("Embedding tiles", total)
    progress.advance(resumed)
    clock = _Clock()
    if resumed < total:
        _embed_rest(slide, plan, engine, store, progress, done, clock, threads, batching)
    progress.finish()
    return EmbeddedTiles(
        vectors=np.concatenate([chunk.vectors for chunk in done]),
        sharpness=np.concatenate([chunk.sharpness for chunk in done]),
        unreadable={tile: reason for chunk in done for tile, reason in chunk.unreadable.items()},
        resumed=resumed,
        engine_seconds=clock.engine,
        stream_seconds=clock.stream,
    )


@dataclass
class _Clock:
    engine: float = 0.0
    stream: float = 0.0


def _load_finished(store: ChunkStore, chunks: int) -> list[Chunk]:
    """The unbroken run of finished chunks from the first on."""
    done: list[Chunk] = []
    while len(done) < chunks and (chunk := store.load(len(done))) is not None:
        done.append(chunk)
    return done


def _embed_rest(
    slide: Slide,
    plan: TilePlan,
    engine: Engine,
    store: ChunkStore,
    progress: Progress,
    done: list[Chunk],
    clock: _Clock,
    threads: int,
    batching: Batching,
) -> None:
    first, total = len(done) * batching.chunk, len(plan.grid.origins)
    lost = sum(len(chunk.unreadable) for chunk in done)
    parts: list[Chunk] = []
    embedded = first
    with TileStream(
        slide, plan, batch_size=batching.tiles, threads=threads, first=first, unreadable_before=lost
    ) as stream:
        for part in _embed_stream(engine, stream, batching.tiles, clock):
            parts.append(part)
            embedded += len(part.vectors)
            progress.advance(len(part.vectors))
            if len(parts) == batching.per_chunk or embedded == total:
                done.append(_join(parts))
                store.save(len(done) - 1, done[-1])
                parts = []


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """What is known of a batch beside its tiles, whose place the stream takes for others."""

    first: int
    count: int
    sharpness: NDArray[np.float32]
    unreadable: dict[int, str]

    def with_vectors(self, vectors: NDArray[np.float32]) -> Chunk:
        """The batch, embedded."""
        own = vectors[: self.count].copy()
        own[[tile - self.first for tile in self.unreadable]] = 0
        return Chunk(own, self.sharpness, self.unreadable)


def _embed_stream(engine: Engine, stream: Iterable[Batch], size: int, clock: _Clock) -> Iterator[Chunk]:
    """Embed batch after batch; an engine may ask for some more before the first comes out."""
    under_way: deque[_UnderWay] = deque()
    embedded = engine.embed_batches(_feed(stream, size, clock, under_way))
    while True:
        began, waited = time.perf_counter(), clock.stream
        vectors = next(embedded, None)
        clock.engine += time.perf_counter() - began - (clock.stream - waited)
        if vectors is None:
            return
        yield under_way.popleft().with_vectors(vectors)


def _feed(
    stream: Iterable[Batch], size: int, clock: _Clock, under_way: deque[_UnderWay]
) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """Hand each batch's tiles on, and note the rest of it."""
    asked = time.perf_counter()
    for batch in stream:
        clock.stream += time.perf_counter() - asked
        under_way.append(_UnderWay(batch.first, len(batch.tiles), batch.sharpness.copy(), dict(batch.unreadable)))
        yield {"tiles": _pad(batch.tiles, size)}
        asked = time.perf_counter()


def _pad(tiles: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A full batch: the engine then always takes the same path, and a slide's last tiles embed like all others."""
    if len(tiles) == size:
        return tiles
    padded = np.zeros((size, *tiles.shape[1:]), np.uint8)
    padded[: len(tiles)] = tiles
    return padded


def _join(parts: list[Chunk]) -> Chunk:
    return Chunk(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.sharpness for part in parts]),
        {tile: reason for part in parts for tile, reason in part.unreadable.items()},
    )
