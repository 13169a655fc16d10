"""What could be known of expression before it is measured: from H&E and notes together, or from H&E alone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .expression import state_levels
from .patient import (
    BASELINE_HAZARD_PER_MONTH,
    COMPOSITION_SPREAD,
    CONTRACTION_SPREAD,
    OFFSET_SPREAD,
    Biology,
    Patient,
    log_hazard,
    simulate_cohort,
)
from .vocabulary import MARKERS

Array = NDArray[np.float64]

_SAMPLES: Final = 64
_POPULATION: Final = 600
_POPULATION_SEED: Final = 20_260_000
"""The reference population: how many, and a seed that no bundle uses."""


def known_levels(patient: Patient) -> Array:
    """(V, N, M) mean level given all that H&E and the notes can tell: the hidden biology is averaged out.

    The average runs over a fixed sample of hidden biology, weighted by the likelihood of the patient's survival.
    """
    possible = [_with_hidden(patient.biology, draw) for draw in range(_SAMPLES)]
    levels = np.stack([state_levels(biology) for biology in possible])
    hazards = np.array([log_hazard(biology) for biology in possible])
    rates = BASELINE_HAZARD_PER_MONTH * np.exp(hazards)
    likelihood = np.exp(-rates * patient.months) * np.where(patient.died, rates, 1.0)
    return np.asarray(np.tensordot(likelihood / likelihood.sum(), levels, axes=1))


@lru_cache(maxsize=1)
def levels_without_facts() -> Array:
    """(V, N, M) mean level over a fixed reference population: what H&E alone could tell."""
    population = simulate_cohort(_POPULATION, _POPULATION_SEED)
    return np.asarray(np.mean([state_levels(patient.biology) for patient in population], axis=0))


@lru_cache(maxsize=1)
def _hidden_sample() -> Array:
    """(s, 6 + M) cytotoxicity, four composition logits, contraction and marker offsets, in antithetic pairs."""
    half = np.random.default_rng(np.random.SeedSequence(7)).standard_normal((_SAMPLES // 2, 6 + len(MARKERS)))
    scales = (1.0, *[COMPOSITION_SPREAD] * 4, CONTRACTION_SPREAD, *[OFFSET_SPREAD] * len(MARKERS))
    return np.asarray(np.concatenate([half, -half]) * np.array(scales))


def _with_hidden(biology: Biology, index: int) -> Biology:
    """The biology that notes and H&E tell, with the hidden part of one draw."""
    cytotoxicity, *composition, contraction = _hidden_sample()[index, :6].tolist()
    return replace(
        biology,
        cytotoxicity=cytotoxicity,
        composition=tuple(composition),
        contraction=contraction,
        offsets=tuple(_hidden_sample()[index, 6:].tolist()),
    )
