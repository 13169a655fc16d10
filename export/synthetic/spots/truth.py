"""What could be known of a spot's counts before they are measured: from H&E and notes together, or from H&E alone.

`expected` is the conditional mean of log1p(counts / library * 10 000). Given a spot's visible cells, a gene's share of
the library is random: what the cells are, which of them are on, how they burst, what the patient hides. Patients fall
into those that make much of a gene and those that make little. In either group the share's mean and variance are exact
up to the draws of the hidden biology; it is then taken as gamma distributed, and the library as log-normal around its
mean. The mean of the logarithm follows by summing over counts. The logarithm of the mean would be
too large for rare genes: most of their spots count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..patient import BASELINE_HAZARD_PER_MONTH, Biology, Patient, log_hazard, simulate_cohort
from ..tissue import Tissue
from .capture import CAPTURE_SPREAD, DEPTH_SPREAD, DISPERSION, POOR_CAPTURE, POOR_SHARE, Caught, visible_states
from .law import hidden_genes, is_male, state_moments

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

SCALE: Final = 10_000.0
"""Counts to which a spot's library is scaled before log1p."""

_POPULATION: Final = 300
_POPULATION_SEED: Final = 20_260_001
"""The reference population: how many, and a seed that no bundle uses."""
_DRAWS: Final = 96
"""How many of them lend their hidden biology to a patient whose facts are known."""

_BANDS: Final = (0.0, 0.5, 3.0, 15.0, 60.0)
"""Mean counts, band by band, for which the sum over counts is taken; above them the logarithm is expanded."""
_TERMS: Final = 500
_TINY: Final = 1e-9
_NEGLIGIBLE: Final = 1e-5
"""Most terms of the sum, and the chance of larger counts at which it may end before."""

_LIBRARY_SPREAD: Final = float(np.hypot(CAPTURE_SPREAD, DEPTH_SPREAD))
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(2)
_LIBRARIES: Final = np.append(np.exp(_LIBRARY_SPREAD * _NODES - _LIBRARY_SPREAD**2 / 2), POOR_CAPTURE)
_LIBRARY_WEIGHTS: Final = np.append((1 - POOR_SHARE) * _NODE_WEIGHTS / _NODE_WEIGHTS.sum(), POOR_SHARE)
"""Factors of the mean library and how likely they are."""


@dataclass(frozen=True, slots=True)
class Possible:
    """What a cell of each visible state may give, over draws of what is not known of the patient.

    Attributes:
        weights: (2, d, G) how likely each draw is and makes little, or much, of a gene; sums to 1 over both and d.
        mean: (d, STATES, G) mean counts of a cell under each draw.
        variance: (2, STATES, G) variance between cells of one state in one patient, averaged over those draws.
    """

    weights: Array
    mean: Array
    variance: Array


def possible_with_facts(patient: Patient) -> Possible:
    """The notes are known; hidden biology is lent by others, weighted by the likelihood of the patient's survival."""
    lent = [_with_hidden(patient.biology, other.biology) for other in _population()[:_DRAWS]]
    rates = BASELINE_HAZARD_PER_MONTH * np.exp([log_hazard(biology) for biology in lent])
    likelihood = np.exp(-rates * patient.months) * np.where(patient.died, rates, 1.0)
    male = is_male(patient)
    moments = [
        state_moments(biology, male, hidden_genes(other))
        for biology, other in zip(lent, _population()[:_DRAWS], strict=True)
    ]
    return _possible(likelihood / likelihood.sum(), moments)


@lru_cache(maxsize=1)
def possible_without_facts() -> Possible:
    """Nothing is known of the patient but the visible cells: any of the reference population."""
    moments = [state_moments(patient.biology, is_male(patient), hidden_genes(patient)) for patient in _population()]
    return _possible(np.full(_POPULATION, 1 / _POPULATION), moments)


def expected_logs(tissue: Tissue, caught: Caught, possible: Possible) -> Floats:
    """(n, G) float32 expected log1p(counts / library * 10 000) of each spot, given its visible cells."""
    states = visible_states(tissue)
    held, squared = caught.sum(states), caught.sum(states, power=2)
    seen = held.any(axis=0)
    given = np.einsum("ns,dsg->dng", held[:, seen], possible.mean[:, seen])
    total = np.broadcast_to(given.sum(axis=2, keepdims=True), given.shape)
    share = given / np.maximum(total, _TINY)
    result = np.zeros(share.shape[1:])
    for weights, variance in zip(possible.weights, possible.variance, strict=True):
        likely = weights.sum(axis=0)
        mean, square, count, library = (
            np.einsum("dg,dng->ng", weights, values) / np.maximum(likely, _TINY)
            for values in (share, share**2, given, total)
        )
        noise = np.einsum("ns,sg->ng", squared[:, seen], variance[seen])
        scatter = noise / np.maximum(count, _TINY) ** 2
        spread = square / np.maximum(mean, _TINY) ** 2 * (1 + scatter) * (1 + DISPERSION) - 1
        result += likely * mean_log(mean, np.clip(spread, 1e-3, 1e6), library)
    return result.astype(np.float32)


def mean_log(share: Array, spread: Array, library: Array) -> Array:
    """(n, G) mean of log1p(X / library * 10 000), X Poisson around library times a gamma-distributed share.

    Args:
        share: (n, G) mean share of the library.
        spread: (n, G) its relative variance.
        library: (n, G) mean library; the library itself varies as `_LIBRARIES` tell.
    """
    result = np.zeros(share.shape)
    for factor, weight in zip(_LIBRARIES, _LIBRARY_WEIGHTS, strict=True):
        scale = SCALE / np.maximum(library * factor, 1.0)
        counts = np.minimum(library * factor * share, 1e6)
        part = np.log1p(scale * counts) - (counts + spread * counts**2) * (scale / (1 + scale * counts)) ** 2 / 2
        for low, high in pairwise(_BANDS):
            band = (counts >= low) & (counts < high)
            part[band] = _summed_log(counts[band], spread[band], scale[band])
        result += weight * part
    return result


def _summed_log(mean: Array, spread: Array, scale: Array) -> Array:
    """(k,) mean of log1p(scale * X) for negative binomial X, by the sum over its counts."""
    shape = 1 / spread
    odds = mean / (mean + shape)
    chance = np.exp(-shape * np.log1p(mean / shape))
    left, result = 1 - chance, np.zeros(mean.shape)
    for count in range(1, _TERMS):
        chance = chance * odds * ((count - 1 + shape) / count)
        result += chance * np.log1p(scale * count)
        left -= chance
        if left.max(initial=0.0) < _NEGLIGIBLE:
            break
    return np.asarray(result + np.maximum(left, 0) * np.log1p(scale * _TERMS))


def _possible(weights: Array, moments: list[tuple[Array, Array]]) -> Possible:
    """Gathers the draws' moments; a draw makes much of a gene where its mean cell makes more than the draws' mean."""
    mean = np.stack([first for first, _ in moments])
    second = np.stack([square for _, square in moments])
    level = np.log(mean.mean(axis=1) + _TINY)
    much = level > np.einsum("d,dg->g", weights, level)
    groups = np.stack([~much, much]) * weights[:, None]
    variance = np.einsum("kdg,dsg->ksg", groups, second - mean**2)
    return Possible(groups, mean, variance / np.maximum(groups.sum(axis=1), _TINY)[:, None])


@lru_cache(maxsize=1)
def _population() -> tuple[Patient, ...]:
    """The reference population."""
    return simulate_cohort(_POPULATION, _POPULATION_SEED)


def _with_hidden(biology: Biology, other: Biology) -> Biology:
    """What notes and H&E tell of one, and what neither tells of another."""
    return replace(
        biology,
        cytotoxicity=other.cytotoxicity,
        composition=other.composition,
        contraction=other.contraction,
        offsets=other.offsets,
    )
