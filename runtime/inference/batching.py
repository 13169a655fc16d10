"""How many tiles go through a tower at once."""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle import Bundle, HETower
from ..engine.model import TowerFiles

LARGE_TOWER_BYTES = 100 << 20
"""A tower of this size takes seconds a tile on a CPU; smaller ones take milliseconds."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How many tiles go through a tower at once, and how many batches make a chunk on disk.

    It depends on the tower and the kind of device alone, so that a run may go on where another stopped.

    Attributes:
        tiles: Tiles of a batch.
        per_chunk: Batches of a chunk, which is what a killed run may lose.
    """

    tiles: int
    per_chunk: int

    @property
    def chunk(self) -> int:
        """Tiles of a chunk."""
        return self.tiles * self.per_chunk


SMALL = Batching(tiles=32, per_chunk=8)
LARGE = Batching(tiles=4, per_chunk=4)
"""With full-size towers on a CPU a batch is some ten seconds and a chunk a minute: the bar moves, a stop costs little,
and the activations of a batch (about 100 MB a tile) stay far below the weights."""

GPU = Batching(tiles=64, per_chunk=8)
"""What fills a GPU also with small towers; a chunk is a few seconds."""


def tower_bytes(bundle: Bundle, tower: TowerFiles) -> int:
    """Size of a tower's files."""
    return sum(bundle.manifest.files[name].size for name in (tower.file, *tower.weights))


def batching(bundle: Bundle, kind: str = "cpu", tower: HETower | None = None) -> Batching:
    """How an H&E tower, by default the bundle's own, is fed on a kind of device: tensorrt, cuda or cpu."""
    if kind != "cpu":
        return GPU
    return LARGE if tower_bytes(bundle, tower or bundle.manifest.need_he()) > LARGE_TOWER_BYTES else SMALL
