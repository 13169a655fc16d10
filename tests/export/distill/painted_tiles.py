"""Groups of painted tiles, in memory: clouds of eosin with nuclei, each patient in colours of his own."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from haiku_edge.export.distill import Group

SIDE = 256


def painted_groups(patients: int, tiles: int = 4) -> tuple[Group, ...]:
    """Some tiles of each of some patients, called p0, p1 …"""
    return tuple(
        group(f"p{number}", np.stack([paint_tile(10 * number + tile, number) for tile in range(tiles)]))
        for number in range(patients)
    )


def group(patient: str, tiles: NDArray[np.uint8]) -> Group:
    """Some tiles of a patient."""
    return Group(patient, f"slide of {patient}", hashlib.sha256(tiles.tobytes()).hexdigest()[:32], lambda: tiles)


def paint_tile(seed: int, patient: int) -> NDArray[np.uint8]:
    """(256, 256, 3) uint8."""
    rng, shade = np.random.default_rng(seed), np.random.default_rng(1000 + patient).uniform(0.5, 1.5, 3)

    def clouds(cells: int) -> NDArray[np.float32]:
        noise = rng.random((cells, cells), np.float32)
        return np.asarray(cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)

    nuclei = (clouds(40) > rng.uniform(0.5, 0.9)).astype(np.float32)
    density = clouds(6)[..., None] * [0.1, 0.6, 0.3] * shade + nuclei[..., None] * [0.8, 0.9, 0.35]
    return np.rint(245 * np.exp(-density)).clip(0, 255).astype(np.uint8)


def plain_groups(*patients: str) -> tuple[Group, ...]:
    """Groups without tiles, for what only looks at whose they are."""
    return tuple(Group(patient, f"slide {i}", f"{i:032x}", _none) for i, patient in enumerate(patients))


def _none() -> NDArray[np.uint8]:
    return np.zeros((0, SIDE, SIDE, 3), np.uint8)
