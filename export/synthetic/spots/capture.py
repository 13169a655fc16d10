"""From cells to raw counts: where spots lie, what they catch, and what the sequencer counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..patient import Patient
from ..tissue import Tissue
from ..vocabulary import MPP, STATES, Niche
from .genes import GENES

Array = NDArray[np.float64]

SPOT_PX: Final = 55.0 / MPP
"""Width of a spot: 55 um, as on a Visium slide."""
PITCH_PX: Final = 100.0 / MPP
"""Distance of neighbouring spots on a Visium slide: 100 um."""
DENSE_PITCH_PX: Final = 64.0 / MPP
"""More spots of the same tissue: 64 um. Spots still don't touch."""

DIFFUSION: Final = 0.15
"""Share of a spot's RNA that came from the ring around it, up to twice the spot's radius."""
REACH_PX: Final = SPOT_PX
"""How far from its centre a spot catches RNA."""
CAPTURE_SPREAD: Final = 0.35
"""Deviation of the logarithm of a spot's capture."""
DEPTH_SPREAD: Final = 0.25
"""Deviation of the logarithm of a section's depth."""
POOR_SHARE: Final = 0.04
POOR_CAPTURE: Final = 0.15
"""Some spots catch little: how many, and how much of the usual."""
DISPERSION: Final = 0.08
"""Relative variance of a spot's count of one gene beyond that of cells and of counting."""


@dataclass(frozen=True, slots=True)
class Caught:
    """Which cells a spot holds.

    Attributes:
        spot: (k,) int64, spot of each pair.
        cell: (k,) int64, cell of each pair.
        weight: (k,) float64, share of the cell's RNA that the spot catches.
        spots: Number of spots.
    """

    spot: NDArray[np.int64]
    cell: NDArray[np.int64]
    weight: Array
    spots: int

    def sum(self, values: Array, *, power: int = 1) -> Array:
        """(spots, c) weighted sums of (cells, c) values; `power` 2 weighs by the squared shares."""
        result = np.zeros((self.spots, values.shape[1]))
        np.add.at(result, self.spot, values[self.cell] * self.weight[:, None] ** power)
        return result


def hexagons(width: int, height: int, pitch: float, margin: float) -> NDArray[np.float32]:
    """(n, 2) centres (x, y) in pixels of a hexagonal grid, at least `margin` pixels from every edge, row by row."""
    rows = np.arange(margin, height - margin + 1e-3, pitch * np.sqrt(3) / 2)
    centres = [
        (x, y)
        for row, y in enumerate(rows.tolist())
        for x in np.arange(margin + (row % 2) * pitch / 2, width - margin + 1e-3, pitch).tolist()
    ]
    return np.array(centres, dtype=np.float32).reshape(-1, 2)


def catch(tissue: Tissue, centres: NDArray[np.float32]) -> Caught:
    """The cells whose centre lies in a spot, and those around it that leak into it."""
    distance = np.hypot(centres[:, :1] - tissue.x, centres[:, 1:] - tissue.y)
    spot, cell = np.nonzero(distance <= REACH_PX)
    inside = distance[spot, cell] <= SPOT_PX / 2
    ring = (2 * REACH_PX / SPOT_PX) ** 2 - 1
    return Caught(spot, cell, np.where(inside, 1 - DIFFUSION, DIFFUSION / ring), len(centres))


def surround(tissue: Tissue, centres: NDArray[np.float32], size: int) -> Caught:
    """The cells of the square of `size` pixels around each centre, each by the share of it that a spot fills."""
    half = size / 2
    near = np.abs(centres[:, :1] - tissue.x) <= half
    near &= np.abs(centres[:, 1:] - tissue.y) <= half
    spot, cell = np.nonzero(near)
    share = np.pi * (SPOT_PX / 2) ** 2 / size**2
    return Caught(spot, cell, np.full(spot.size, share), len(centres))


def visible_states(tissue: Tissue) -> Array:
    """(cells, STATES) one-hot: what H&E shows of each cell."""
    return np.asarray(np.eye(STATES)[tissue.visible.astype(np.int64) * len(Niche) + tissue.cell_niche])


def draw_depth(patient: Patient) -> float:
    """The depth of the patient's section, of mean 1."""
    rng = np.random.default_rng(np.random.SeedSequence((*patient.entropy, 21)))
    return float(np.exp(DEPTH_SPREAD * rng.standard_normal() - DEPTH_SPREAD**2 / 2))


def draw_capture(rng: np.random.Generator, spots: int) -> Array:
    """(spots,) capture of each spot: of mean 1, but for the poor ones."""
    capture = np.exp(CAPTURE_SPREAD * rng.standard_normal(spots) - CAPTURE_SPREAD**2 / 2)
    return np.where(rng.random(spots) < POOR_SHARE, POOR_CAPTURE, 1.0) * capture


def sequence(rng: np.random.Generator, rna: Array, efficiency: Array) -> NDArray[np.int32]:
    """(n, G) raw counts: Poisson around gamma around what (n, G) `rna` gives at an (n,) efficiency."""
    scatter = rng.gamma(1 / DISPERSION, DISPERSION, (len(rna), len(GENES)))
    return rng.poisson(rna * efficiency[:, None] * scatter).astype(np.int32)
