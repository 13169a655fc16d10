"""Finished tiles on disk, so that a killed run goes on where it stopped.

A chunk is a fixed range of tiles. Its file carries the digest of its own content in its name and is written beside
and renamed, so a chunk is there whole or not at all. The folder's name is a digest of everything that decides a
chunk's bytes: chunks of another slide, bundle, engine or grid are never taken for this run's.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_write, make_directory, output_error
from ..errors import OutputExistsError

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
    """The finished chunks of one run, locked against a second run on the same output.

    Args:
        folder: The run's output folder.
        recipe: Everything that decides a chunk's content; must be JSON.

    Raises:
        OutputExistsError: Another process is writing there.
        OutputNotWritableError, DiskFullError: The folder can't be written.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        text = json.dumps(recipe, sort_keys=True)
        self.folder = folder / f".unfinished-{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]}"
        make_directory(self.folder)
        try:
            self._lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise output_error(error, self.folder) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise OutputExistsError(
                f"Another run is writing the same result into {folder}. Wait for it, or choose another --out."
            ) from error

    def __enter__(self) -> ChunkStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

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

    def discard(self) -> None:
        """Remove the chunks: the result is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH]
