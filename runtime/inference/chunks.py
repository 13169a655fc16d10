"""Finished tiles on disk, so that a killed run goes on where it stopped.

A chunk is a fixed range of tiles. Its file carries the digest of its own content in its name and is written beside
and renamed, so a chunk is there whole or not at all. The folder's name is a digest of everything that decides a
chunk's bytes: chunks of another slide, bundle, engine or grid are never taken for this run's.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_write, make_directory
from .folder import UNFINISHED

_DIGEST_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """The embedded tiles of one range.

    Attributes:
        vectors: (m, d) float32 unit vectors; 0 where a tile was unreadable.
        sharpness: (m,) float32.
        unreadable: Tile index → why it could not be read.
    """

    vectors: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    unreadable: dict[int, str]


class ChunkStore:
    """The finished chunks of one run.

    Args:
        folder: The run's output folder, which it holds.
        recipe: Everything that decides a chunk's content; must be JSON.

    Raises:
        OutputNotWritableError, DiskFullError: The folder can't be written.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        text = json.dumps(recipe, sort_keys=True)
        self.folder = folder / f"{UNFINISHED}{_short_digest(text.encode())}"
        make_directory(self.folder)

    def load(self, number: int) -> Chunk | None:
        """The chunk of that number, or None where it is not there or damaged."""
        for path in sorted(self.folder.glob(f"{number:08d}-*.npz")):
            data = path.read_bytes()
            if path.stem.endswith(_short_digest(data)):
                with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                    reasons = json.loads(str(arrays["unreadable"]))
                    return Chunk(arrays["vectors"], arrays["sharpness"], {int(k): v for k, v in reasons.items()})
            path.unlink()
        return None

    def save(self, number: int, chunk: Chunk) -> None:
        """Keep a finished chunk."""
        buffer = io.BytesIO()
        np.savez(
            buffer, vectors=chunk.vectors, sharpness=chunk.sharpness, unreadable=np.array(json.dumps(chunk.unreadable))
        )
        data = buffer.getvalue()
        atomic_write(self.folder / f"{number:08d}-{_short_digest(data)}.npz", data)


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH]
