"""Spots whose genes follow four directions: a good representation has all of them, a poor one two, noise none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from haiku_edge.export.evaluation.spade import FEATURES, RANDOM_CLUSTERS, SPADE, SpotCohort

ORGANS = ("breast", "lung", "skin")
HARD = f"{SPADE}, hard"


def names(letter: str, numbers: NDArray[np.int64]) -> NDArray[np.str_]:
    """'P003' and so on."""
    return np.array([f"{letter}{number:03d}" for number in numbers], np.str_)


def blurred(rng: np.random.Generator, directions: NDArray[np.float64], extra: int = 8) -> NDArray[np.float32]:
    """Directions among weak noise, at any length."""
    noise = 0.2 * rng.normal(size=(len(directions), extra))
    return np.concatenate([directions, noise], axis=1).astype(np.float32)


def planted_spots(
    patients: int = 12, sections: int = 2, spots: int = 12, genes: int = 6, *, noise: float = 0.6, seed: int = 0
) -> SpotCohort:
    """Patients of three organs with some sections of some spots; the organ moves one of the directions.

    Expression is a linear function of the directions, `expected`, with noise of this standard deviation.
    """
    rng = np.random.default_rng(seed)
    count = patients * sections * spots
    owner = np.repeat(np.arange(patients), sections * spots)
    directions = rng.normal(size=(count, 4))
    directions[:, 3] += 2.0 * (owner % 3)
    expected = 5 + directions @ rng.normal(size=(4, genes))
    good = blurred(rng, directions)
    place = np.tile(np.arange(spots), patients * sections)
    return SpotCohort(
        genes=tuple(f"G{number}" for number in range(genes)),
        spots=names("B", np.arange(count)),
        sections=names("S", np.repeat(np.arange(patients * sections), spots)),
        patients=names("P", owner),
        organs=np.array(ORGANS)[owner % 3],
        x=(100.0 * (place % 4)).astype(np.float32),
        y=(100.0 * (place // 4)).astype(np.float32),
        vectors={
            SPADE: good,
            FEATURES: blurred(rng, directions[:, :2]),
            RANDOM_CLUSTERS: rng.normal(size=(count, 12)).astype(np.float32),
            HARD: good + 0.05 * rng.normal(size=good.shape).astype(np.float32),
        },
        keys={SPADE: blurred(rng, directions)},
        expression=(expected + noise * rng.normal(size=expected.shape)).astype(np.float32),
        facts={
            f"P{number:03d}": {
                "grade": str(number % 2),
                "survival": f"{5 + 3 * number} months",
                "survival_status": "dead" if number % 3 else "alive",
            }
            for number in range(patients)
        },
        expected=expected.astype(np.float32),
    )
