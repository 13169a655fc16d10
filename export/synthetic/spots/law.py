"""The law by which cell type, niche, facts and hidden biology set a cell's RNA.

Gene g is on in a cell of type t in niche n with probability

    f = sigmoid(base[t, g] + niche[n, g] + diagnosis[g] + facts[g] + offset[g])

or, where it follows a marker, whenever that protein is on. An on-cell gives `LEVELS[g] * CELL_SIZES[t] * factor[g]`
counts on average in a spot of unit capture, times a log-normal burst of mean 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..expression import express, fractions, sigmoid, type_shares
from ..patient import OFFSET_SPREAD, Biology, Patient
from ..tissue import Tissue
from ..vocabulary import STATES, CellType
from .genes import (
    BASE,
    CELL_SIZES,
    DIAGNOSIS,
    FACT,
    FOLLOWED,
    FOLLOWERS,
    GENES,
    GENOTYPE,
    LEVELS,
    NICHE,
    OFF,
    STRESS,
)

Array = NDArray[np.float64]

BURST_SPREAD: Final = 0.5
"""Deviation of the logarithm of a cell's count of one gene."""

ABSENT: Final = 0.02
"""What is still counted of a gene that the germline lacks."""

_SHARED_STRESS: Final = 0.8
"""Correlation with the sample's own stress of the stress of each gene."""


@dataclass(frozen=True, slots=True)
class HiddenGenes:
    """What of a patient's genes neither notes nor H&E tell.

    Attributes:
        offsets: (G,) logits of the on-share.
        factor: (G,) of the counts: germline and handling.
    """

    offsets: Array
    factor: Array


def hidden_genes(patient: Patient) -> HiddenGenes:
    """Draws a patient's own, from a stream that nothing else uses."""
    rng = np.random.default_rng(np.random.SeedSequence((*patient.entropy, 20)))
    offsets = OFFSET_SPREAD * rng.standard_normal(len(GENES))
    absent = GENOTYPE & (rng.random(len(GENES)) < 0.5)
    shared = _SHARED_STRESS * rng.standard_normal()
    stress = shared + np.sqrt(1 - _SHARED_STRESS**2) * rng.standard_normal(len(GENES))
    factor = np.exp(STRESS * stress - STRESS**2 / 2) * np.where(absent, ABSENT, 1.0)
    return HiddenGenes(offsets, factor)


def is_male(patient: Patient) -> bool:
    """Whether the notes say so."""
    return patient.facts["sex"] == "male"


def gene_fractions(biology: Biology, male: bool, hidden: HiddenGenes) -> Array:
    """(T, N, G) probability that a cell makes the gene's RNA."""
    numbers = (
        biology.stage - 2, biology.grade - 2, float(biology.metastasis), biology.cytotoxicity, float(male),
    )  # fmt: skip
    told = np.array(numbers) @ FACT + DIAGNOSIS[2 * biology.organ + int(biology.inflamed)]
    logits = (BASE + told + hidden.offsets)[:, None] + NICHE[None]
    shares = np.where(BASE[:, None] <= OFF, 0.0, sigmoid(logits))
    shares[..., FOLLOWERS] = fractions(biology)[..., FOLLOWED]
    return np.asarray(shares)


def state_moments(biology: Biology, male: bool, hidden: HiddenGenes) -> tuple[Array, Array]:
    """Mean and mean square, each (STATES, G), of the counts of a cell of each visible state, at unit capture."""
    shares = gene_fractions(biology, male, hidden)
    sizes = CELL_SIZES[:, None, None]
    kinds = type_shares(biology)
    level = LEVELS * hidden.factor
    first = np.einsum("vnt,tng->vng", kinds, shares * sizes) * level
    second = np.einsum("vnt,tng->vng", kinds, shares * sizes**2) * level**2 * np.exp(BURST_SPREAD**2)
    return first.reshape(STATES, -1), second.reshape(STATES, -1)


def cell_types(patient: Patient, tissue: Tissue) -> NDArray[np.int64]:
    """(n,) a `CellType` for each cell: the same that `express` gives its proteins."""
    rng = np.random.default_rng(np.random.SeedSequence((*tissue.seed, 2)))
    edges = np.cumsum(type_shares(patient.biology), axis=2)[tissue.visible, tissue.cell_niche]
    return np.asarray(np.minimum((rng.random(tissue.x.size)[:, None] > edges).sum(axis=1), len(CellType) - 1))


def cell_counts(patient: Patient, tissue: Tissue) -> NDArray[np.float32]:
    """(n, G) mean counts that each cell gives to a spot of unit capture.

    A gene that follows a marker is on in exactly the cells whose protein is on. Chance comes from the tissue alone.
    """
    rng = np.random.default_rng(np.random.SeedSequence((*tissue.seed, 20)))
    types = cell_types(patient, tissue)
    hidden = hidden_genes(patient)
    shares = gene_fractions(patient.biology, is_male(patient), hidden)[types, tissue.cell_niche]
    on = rng.random(shares.shape) < shares
    on[:, FOLLOWERS] = express(patient, tissue)[:, FOLLOWED] > 0
    burst = np.exp(BURST_SPREAD * rng.standard_normal(shares.shape) - BURST_SPREAD**2 / 2)
    level = LEVELS * hidden.factor * CELL_SIZES[types][:, None]
    return np.asarray(on * burst * level, dtype=np.float32)
