"""Tiles to vectors: the engine's loop over the stream, chunk by chunk."""

from __future__ import annotations

import time
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
    size, first = batching.tiles, len(done) * batching.chunk
    total = len(plan.grid.origins)
    parts: list[Chunk] = []
    asked = time.perf_counter()
    lost = sum(len(chunk.unreadable) for chunk in done)
    with TileStream(slide, plan, batch_size=size, threads=threads, first=first, unreadable_before=lost) as stream:
        for batch in stream:
            clock.stream += time.perf_counter() - asked
            parts.append(_embed_batch(engine, batch, size, clock))
            progress.advance(len(batch.tiles))
            if len(parts) == batching.per_chunk or batch.first + len(batch.tiles) == total:
                done.append(_join(parts))
                store.save(len(done) - 1, done[-1])
                parts = []
            asked = time.perf_counter()


def _embed_batch(engine: Engine, batch: Batch, size: int, clock: _Clock) -> Chunk:
    began = time.perf_counter()
    vectors = engine(tiles=_pad(batch.tiles, size))[: len(batch.tiles)].copy()
    clock.engine += time.perf_counter() - began
    vectors[[tile - batch.first for tile in batch.unreadable]] = 0
    return Chunk(vectors, batch.sharpness.copy(), dict(batch.unreadable))


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
