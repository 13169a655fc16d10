"""What an atlas of spots searches, and how many of them speak for a tile: chosen by the atlas's own spots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Neighbours
from haiku_edge.runtime.bundle import KnownPatients

from ..evaluation.spade import SPADE, SpotCohort
from ..evaluation.spade.retrieval import KEYS, NEIGHBOURS, Keys, find_neighbours, infer

COUNTS: Final = (5, 10, 20, 50)
"""Numbers of neighbours that are tried."""

LEAST_PATIENTS: Final = 2
"""Patients unknown to the experts without whom nothing is chosen."""

MOST_ASKED: Final = 3000
"""Spots that are asked about; all of the atlas answers."""


@dataclass(frozen=True, slots=True)
class ChosenSearch:
    """What is searched.

    Attributes:
        keys: Pictures or expression.
        neighbours: Spots behind each tile.
        scores: Keys → neighbours → mean Pearson correlation over the genes; empty where nothing could be tried.
        remark: Why nothing could be tried, else None.
    """

    keys: Keys
    neighbours: int
    scores: Mapping[str, Mapping[int, float]]
    remark: str | None = None


def choose_search(
    cohort: SpotCohort, wanted: str = "auto", seed: int = 0, known: KnownPatients | None = None
) -> ChosenSearch:
    """Choose what predicts best among the atlas's own spots, leave-patient-out.

    A seeded draw of spots is asked about, and the whole atlas answers, as it will in use: the best number of neighbours
    depends on how many there are. Experts reproduce the counts of spots that they learned from, which would speak for
    `expression`: patients whom they know are not asked about.

    Args:
        cohort: The atlas's spots, embedded by the mixture.
        wanted: image, expression or auto.
        seed: Of the draw.
        known: Whom the experts learned from.
    """
    kinds = [keys for keys in KEYS if wanted in ("auto", keys) and (keys == "image" or cohort.keys)]
    patients = np.unique(cohort.patients).tolist()
    free = sorted(set(patients) - set((known or KnownPatients()).among(patients)))
    if len(free) < LEAST_PATIENTS:
        return ChosenSearch(kinds[0], NEIGHBOURS, {}, _untried(len(free), len(patients)))
    asked = np.flatnonzero(np.isin(cohort.patients, free))
    if len(asked) > MOST_ASKED:
        asked = np.sort(np.random.default_rng(seed).choice(asked, MOST_ASKED, replace=False))
    scores = {str(keys): _correlations(cohort, keys, asked) for keys in kinds}
    best = max(((keys, count) for keys in kinds for count in COUNTS), key=lambda one: scores[one[0]][one[1]])
    return ChosenSearch(best[0], best[1], scores)


def _untried(free: int, patients: int) -> str:
    return (
        f"The experts know all but {free} of the {patients} patients of the atlas, too many to choose by the others: "
        "what is searched, and how many neighbours speak, is the default or what was asked for."
    )


def _correlations(cohort: SpotCohort, keys: Keys, asked: NDArray[np.int64]) -> dict[int, float]:
    """Neighbours → mean correlation of the asked spots' expression with that of so many spots of other patients."""
    found = find_neighbours(cohort, SPADE, max(COUNTS), keys, asked)
    measured = cohort.expression[asked]
    return {
        count: _mean_correlation(measured, infer(cohort, Neighbours(found.ids[:, :count], found.scores[:, :count])))
        for count in COUNTS
    }


def _mean_correlation(measured: NDArray[np.float32], predicted: NDArray[np.float32]) -> float:
    """Pearson correlation of each column of two (n, g) tables; mean over those that vary."""
    first, second = predicted.astype(np.float64), measured.astype(np.float64)
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    scale = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    varies = scale > 0
    return float(((first * second).sum(axis=0)[varies] / scale[varies]).mean()) if varies.any() else 0.0
