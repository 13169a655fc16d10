"""Views of tiles, and what the teacher makes of each: computed once, and kept on disk.

A student learns from more than the tiles as they were scanned: it also sees them turned, mirrored and in another stain.
The teacher is asked about the very same pixels, so that the student never has to guess how the teacher would take it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import atomic_open, make_directory
from haiku_edge.runtime.engine import Engine

from ..model import StudentTower
from ..training.augment import ORIENTATIONS, jitter_stain
from ..training.epochs import stream
from .sources import Group, Images

BATCH = 16
_VIEW = 5
"""Purpose of the random stream that draws views; see `stream`."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """The tower that is learned from.

    Attributes:
        engine: The tower, running.
        digest: Of its graph and weights.
    """

    engine: Engine
    digest: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder that keeps what is computed once.

    Attributes:
        folder: Where.
    """

    folder: Path

    def taught(self, group: Group, teacher: Teacher) -> NDArray[np.float32]:
        """(n, d) float32: the teacher's vectors of a group's tiles."""
        path = self.folder / f"{group.key}-{teacher.digest[:16]}.npy"
        if not path.exists():
            _save(path, embed(teacher.engine, group.read()))
        return np.asarray(np.load(path), np.float32)

    def seen(self, group: Group, student: StudentTower) -> Images:
        """(n, 3, side, side) uint8, mapped from the disk: a group's tiles as the student's graph resizes them."""
        path = self.folder / f"{group.key}-{type(student).__name__}{student.config.side}.npy"
        if not path.exists():
            _save(path, np.concatenate([resized(student, part) for part in _parts(group.read())]))
        mapped: Images = np.load(path, mmap_mode="r")
        return mapped


def views_of(group: Group, count: int, seed: int) -> Iterator[Group]:
    """A group as `count` views show it: first as it is, then each tile turned and stained in its own way.

    The group is read once at most, and each view made once at most.
    """
    read = functools.cache(group.read)
    yield replace(group, key=f"{group.key}-0", read=read)
    for view in range(1, count):
        rng = stream(seed, _VIEW, view, int(group.key[:8], 16))
        changed = functools.cache(functools.partial(_changed, read, rng))
        yield replace(group, key=f"{group.key}-{view}.{seed}", read=changed)


def embed(engine: Engine, tiles: Images) -> NDArray[np.float32]:
    """(n, d) float32 vectors of (n, s, s, 3) tiles."""
    return np.concatenate([engine(tiles=np.ascontiguousarray(part)) for part in _parts(tiles)])


@torch.no_grad()
def resized(student: StudentTower, tiles: Images) -> Images:
    """(n, 3, side, side) uint8: tiles as the student's graph resizes them."""
    small = student.resize(torch.from_numpy(tiles).to(torch.float32))
    return np.asarray(torch.clamp(small + 0.5, 0, 255).to(torch.uint8).numpy())


def _changed(read: Callable[[], Images], rng: np.random.Generator) -> Images:
    return np.concatenate([_change(part, rng) for part in _parts(read())])


def _change(tiles: Images, rng: np.random.Generator) -> Images:
    turns = rng.integers(0, ORIENTATIONS, len(tiles))
    turned = np.stack([_turned(tile, int(turn)) for tile, turn in zip(tiles, turns, strict=True)])
    images = torch.from_numpy(np.ascontiguousarray(turned.transpose(0, 3, 1, 2))).to(torch.float32)
    stained = torch.clamp(jitter_stain(images, rng) + 0.5, 0, 255).to(torch.uint8)
    return np.ascontiguousarray(stained.permute(0, 2, 3, 1).numpy())


def _turned(tile: Images, turn: int) -> Images:
    """A tile after `turn` % 4 quarter turns, mirrored first from 4 on; see `orient`, which turns floats."""
    return np.rot90(tile[:, ::-1] if turn >= 4 else tile, turn % 4)


def _parts(tiles: Images) -> list[Images]:
    return [tiles[start : start + BATCH] for start in range(0, len(tiles), BATCH)]


def _save(path: Path, array: NDArray[np.generic]) -> None:
    make_directory(path.parent)
    with atomic_open(path) as file:
        np.save(file, array)
