"""How many tiles go through a tower at once."""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle import Bundle, HETower, MifTower, TextTower

LARGE_TOWER_BYTES = 100 << 20
"""A tower of this size takes seconds a tile on a CPU; smaller ones take milliseconds."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How many tiles go through a tower at once, and how many batches make a chunk on disk.

    It depends on the bundle alone, never on the machine, so that a run may go on where another stopped.

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


def tower_bytes(bundle: Bundle, tower: HETower | TextTower | MifTower) -> int:
    """Size of a tower's files."""
    return sum(bundle.manifest.files[name].size for name in (tower.file, *tower.weights))


def batching(bundle: Bundle) -> Batching:
    """How the bundle's H&E tower is fed."""
    return LARGE if tower_bytes(bundle, bundle.manifest.he) > LARGE_TOWER_BYTES else SMALL
