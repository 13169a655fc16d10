"""A killed run goes on from whole chunks, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haiku_edge.runtime.inference.chunks import Chunk, ChunkStore


def _chunk(seed: int) -> Chunk:
    rng = np.random.default_rng(seed)
    return Chunk(rng.normal(size=(5, 4)).astype(np.float32), rng.random(5).astype(np.float32), {3: "tile 3 is damaged"})


def test_a_saved_chunk_comes_back_to_the_bit(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, {"slide": "a"})
    store.save(7, _chunk(1))
    loaded = store.load(7)
    assert loaded is not None
    assert np.array_equal(loaded.vectors, _chunk(1).vectors)
    assert np.array_equal(loaded.sharpness, _chunk(1).sharpness)
    assert loaded.unreadable == {3: "tile 3 is damaged"}


def test_a_damaged_chunk_is_not_taken(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, {"slide": "a"})
    store.save(0, _chunk(1))
    (path,) = store.folder.glob("*.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert store.load(0) is None


@pytest.mark.parametrize("other", [{"slide": "b"}, {"slide": "a", "bundle": "x"}])
def test_chunks_of_another_slide_or_bundle_are_not_taken(tmp_path: Path, other: dict[str, str]) -> None:
    ChunkStore(tmp_path, {"slide": "a"}).save(0, _chunk(1))
    assert ChunkStore(tmp_path, other).load(0) is None
