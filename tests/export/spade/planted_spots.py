"""Tiny datasets of spots whose picture and genes both follow from hidden numbers, and an encoder that sees colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.export.spatial import SpotDataset, SpotSection, write_spots

GENES = tuple(f"GENE{number}" for number in range(20))
PATIENTS = (("P1", "Bowel"), ("P2", "Bowel"), ("P3", "Bowel"), ("P4", "Skin"), ("P5", "Skin"), ("P6", "Skin"))
SPOTS = 60


class Colours:
    """An encoder: the mean colours of the quarters of a tile."""

    digest = "colours 1"
    size = 16

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(b, 16, 16, 3) uint8 to (b, 12) float32."""
        quarters = tiles.reshape(len(tiles), 2, 8, 2, 8, 3).mean(axis=(2, 4))
        return quarters.reshape(len(tiles), 12).astype(np.float32)


def write(
    path: Path, patients: Sequence[tuple[str, str]] = PATIENTS, spots: int = SPOTS, size: int = 16
) -> SpotDataset:
    """A dataset with one section a patient."""
    return write_spots(path, _sections(patients, spots, size), name="planted", genes=GENES, size=size, synthetic=True)


def _sections(
    patients: Sequence[tuple[str, str]], spots: int, size: int
) -> Iterator[tuple[SpotSection, list[NDArray[np.uint8]]]]:
    law = np.random.default_rng(11).normal(size=(12, len(GENES)))
    for number, (patient, organ) in enumerate(patients):
        draw = np.random.default_rng(number)
        hidden = draw.uniform(-1, 1, (spots, 12)) * 0.4 + draw.choice([-0.5, 0.5], (spots, 1))
        counts = draw.poisson(np.exp(0.5 * hidden @ law) * 3).astype(np.float32)
        colours = (127 + 90 * hidden).reshape(spots, 2, 1, 2, 1, 3).clip(0, 255)
        tiles = np.broadcast_to(colours, (spots, 2, size // 2, 2, size // 2, 3)).reshape(spots, size, size, 3)
        section = SpotSection(
            section=f"S{9 - number}",
            patient=patient,
            organ=organ,
            genes=GENES,
            spots=np.array([f"{patient}-{row}" for row in range(spots)]),
            x=np.arange(spots, dtype=np.float32),
            y=np.zeros(spots, np.float32),
            counts=csr_matrix(counts),
            image=None,
            mpp=0.5,
            facts={},
        )
        yield section, list(tiles.astype(np.uint8))
