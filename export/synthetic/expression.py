"""The law by which cell type, niche and clinical facts set marker expression.

For a cell of type t in niche n of patient p, marker m is on with probability

    f = sigmoid(base[t, m] + niche[n, m] + facts[p, t, m] + offset[p, m])

and an on-cell shows `LEVEL[m]` uint8 steps in the marker's compartment, times a log-normal factor of mean 1.
`docs/simulator.md` states the tables in words.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .patient import Biology, Patient
from .tissue import Tissue
from .vocabulary import LYMPHOCYTES, MARKERS, VISIBLE_OF_TYPE, CellType, Niche, Visible

Array = NDArray[np.float64]

LEVEL: Final = np.array([150, 140, 140, 170, 190, 190, 180, 200, 185, 200, 170, 180, 165, 185, 95, 115, 200, 150.0])
"""(M,) uint8 steps of an on-cell in its compartment, before noise."""

CELL_SPREAD: Final = 0.3
"""Standard deviation of the logarithm of a cell's level."""

_OFF: Final = -9.0
_WEIGHTS: Final = {
    "DAPI": (1, 0, 0, 0),
    "PanCK": (0, 0.3, 1, 0),
    "ECad": (0, 1, 0.05, 0),
    "Ki67": (1, 0, 0, 0),
    "CD45": (0, 1, 0.1, 0),
    "CD3e": (0, 1, 0.1, 0),
    "CD4": (0, 1, 0.1, 0),
    "CD8": (0, 1, 0.1, 0),
    "FoxP3": (1, 0, 0, 0),
    "CD20": (0, 1, 0.1, 0),
    "CD68": (0, 0.2, 1, 0),
    "PD1": (0, 1, 0.1, 0),
    "PDL1": (0, 1, 0.15, 0),
    "GranzymeB": (0, 0.3, 1, 0),
    "Vimentin": (0, 0.3, 1, 0.35),
    "aSMA": (0, 0.1, 0.8, 0.7),
    "CD31": (0, 1, 0.5, 0),
    "HLA-DR": (0, 1, 0.3, 0),
}
WEIGHTS: Final = np.array([_WEIGHTS[marker] for marker in MARKERS], dtype=np.float64)
"""(M, 4) share of a marker's level that each `Compartment` shows."""

# One letter for each cell type keeps the table below readable.
T, E, F, Y, N, P = (
    CellType.TUMOUR,
    CellType.EPITHELIUM,
    CellType.FIBROBLAST,
    CellType.MYOFIBROBLAST,
    CellType.ENDOTHELIUM,
    CellType.MACROPHAGE,
)
H, R, K, B, D, A = (
    CellType.CD4,
    CellType.REGULATORY,
    CellType.CD8,
    CellType.B,
    CellType.DEBRIS,
    CellType.ADIPOCYTE,
)
_LEUCOCYTES: Final = (P, H, R, K, B)
_T_CELLS: Final = (H, R, K)
_LIVING: Final = tuple(t for t in CellType if t != D)

_BASE: Final[dict[str, tuple[tuple[tuple[CellType, ...], float], ...]]] = {
    "DAPI": ((_LIVING, 5.0), ((D,), -1.0)),
    "PanCK": (((T,), 2.2), ((E,), 3.0), ((D,), -1.5)),
    "ECad": (((T,), 1.2), ((E,), 3.0)),
    "Ki67": (((T,), -0.7), ((E,), -2.2), ((H, R, K), -2.4), ((B,), -1.2), ((F, Y, N), -4.0)),
    "CD45": (((H, R, K, B), 3.5), ((P,), 1.0)),
    "CD3e": ((_T_CELLS, 3.0),),
    "CD4": (((H, R), 2.5), ((P,), -1.8)),
    "CD8": (((K,), 3.0),),
    "FoxP3": (((R,), 2.5), ((H,), -3.5)),
    "CD20": (((B,), 3.0),),
    "CD68": (((P,), 2.5), ((D,), -2.5)),
    "PD1": (((K,), -0.6), ((H,), -0.9), ((R,), -0.6), ((B,), -3.0)),
    "PDL1": (((T,), -1.3), ((P,), -0.5), ((N,), -3.0)),
    "GranzymeB": (((K,), 0.0), ((H,), -3.5)),
    "Vimentin": (((T,), -2.6), ((F, Y, N), 2.5), ((P,), 1.0), ((H, R, K, B), 0.0), ((A,), 0.0)),
    "aSMA": (((Y,), 2.5), ((F,), -2.8), ((N,), -0.5)),
    "CD31": (((N,), 3.0), ((P,), -3.0)),
    "HLA-DR": (((B,), 2.5), ((P,), 1.8), ((T,), -1.8), ((N,), -1.0), ((K, H, R), -2.0), ((E,), -3.5)),
}

_NICHE: Final[dict[str, tuple[tuple[Niche, float], ...]]] = {
    "Ki67": ((Niche.LYMPHOID, 1.2), (Niche.STROMA, -0.6), (Niche.NECROSIS, -1.5)),
    "PD1": ((Niche.LYMPHOID, 0.6), (Niche.TUMOUR, 0.5)),
    "PDL1": ((Niche.STROMA, -0.4), (Niche.NECROSIS, 0.4)),
    "GranzymeB": ((Niche.TUMOUR, 0.7), (Niche.LYMPHOID, -1.0)),
    "ECad": ((Niche.NECROSIS, -1.5),),
    "HLA-DR": ((Niche.LYMPHOID, 0.5), (Niche.TUMOUR, -0.3)),
    "aSMA": ((Niche.VESSEL, 1.5), (Niche.GLAND, -0.8)),
    "FoxP3": ((Niche.TUMOUR, 0.3),),
}


def _table(rows: dict[str, tuple[tuple[tuple[CellType, ...], float], ...]]) -> Array:
    """(T, M) base logits; a cell type that isn't named never shows the marker."""
    table = np.full((len(CellType), len(MARKERS)), _OFF)
    for marker, entries in rows.items():
        for types, logit in entries:
            table[list(types), MARKERS.index(marker)] = logit
    return table


def _niche_table() -> Array:
    """(N, M) logits that the niche adds."""
    table = np.zeros((len(Niche), len(MARKERS)))
    for marker, entries in _NICHE.items():
        for niche, logit in entries:
            table[niche, MARKERS.index(marker)] = logit
    return table


BASE: Final = _table(_BASE)
NICHE: Final = _niche_table()

_ORGAN: Final = {
    "PanCK": (0.5, 0.0, 0.2, -0.6),
    "ECad": (0.5, 0.2, 0.0, -0.4),
    "Ki67": (0.5, -0.7, 0.0, 0.3),
    "CD68": (-0.3, 0.0, 0.9, -0.2),
    "PDL1": (-0.7, -0.6, 0.7, 0.6),
    "HLA-DR": (-0.3, -0.3, 0.6, 0.2),
    "Vimentin": (-0.5, 0.1, 0.2, 0.5),
    "CD31": (0.0, -0.3, 0.6, 0.0),
}
"""Logits that the organ (colon, breast, lung, head and neck) adds to a marker."""

_B_CELLS_BY_ORGAN: Final = (0.1, -0.8, 0.5, 0.9)


def fact_logits(biology: Biology) -> Array:
    """(T, M) logits that the clinical facts add."""
    stage, grade = biology.stage - 2, biology.grade - 2
    spread, inflamed = float(biology.metastasis), float(biology.inflamed)
    every = np.zeros(len(MARKERS))
    for marker, by_organ in _ORGAN.items():
        every[MARKERS.index(marker)] += by_organ[biology.organ]
    for marker, logit in (
        ("PDL1", 0.6 * stage + 0.7 * inflamed),
        ("PD1", 0.5 * stage + 0.3 * inflamed),
        ("GranzymeB", -0.6 * stage + 0.5 * inflamed + 0.7 * biology.cytotoxicity),
        ("HLA-DR", -0.35 * stage + 0.7 * inflamed),
        ("CD31", 0.3 * grade),
    ):
        every[MARKERS.index(marker)] += logit
    table = np.repeat(every[None], len(CellType), axis=0)
    for marker, logit in (
        ("Ki67", 0.95 * grade + 0.4 * inflamed - 0.01 * (biology.age - 64)),
        ("ECad", -0.6 * grade - 0.5 * spread),
        ("Vimentin", 0.6 * grade + 0.5 * spread),
        ("PanCK", -0.35 * grade),
    ):
        table[CellType.TUMOUR, MARKERS.index(marker)] += logit
    return table


def lymphocyte_shares(biology: Biology) -> Array:
    """(N, 4) share of CD4, regulatory, CD8 and B cells among the lymphocytes of each niche."""
    stage, inflamed = biology.stage - 2, float(biology.inflamed)
    logits = np.tile(np.array([0.3, -1.1, 0.0, -0.9]), (len(Niche), 1))
    logits[Niche.LYMPHOID] += (0.1, -0.4, -0.7, 2.1)
    logits[Niche.TUMOUR] += (-0.3, 0.2, 0.6, -0.7)
    facts = np.array([0.0, 0.5 * stage, -0.35 * stage + 0.4 * inflamed + 0.3 * biology.cytotoxicity, 0.0])
    facts[3] = _B_CELLS_BY_ORGAN[biology.organ]
    shares = np.exp(logits + facts + biology.composition)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def myofibroblast_shares(biology: Biology) -> Array:
    """(N,) share of myofibroblasts among the spindle cells of each niche."""
    logits = np.full(len(Niche), -0.6)
    logits[[Niche.TUMOUR, Niche.VESSEL]] += (0.9, 1.0)
    return sigmoid(logits + 0.5 * (biology.stage - 2) + 0.4 * biology.metastasis + biology.contraction)


def type_shares(biology: Biology) -> Array:
    """(V, N, T) share of each cell type among the cells that look like v in niche n."""
    shares = np.zeros((len(Visible), len(Niche), len(CellType)))
    for kind, visible in enumerate(VISIBLE_OF_TYPE):
        shares[visible, :, kind] = 1.0
    shares[Visible.LYMPHOCYTE][:, list(LYMPHOCYTES)] = lymphocyte_shares(biology)
    contracted = myofibroblast_shares(biology)
    shares[Visible.SPINDLE, :, CellType.MYOFIBROBLAST] = contracted
    shares[Visible.SPINDLE, :, CellType.FIBROBLAST] = 1.0 - contracted
    return shares


def fractions(biology: Biology) -> Array:
    """(T, N, M) probability that a cell shows the marker."""
    logits = (BASE + fact_logits(biology))[:, None] + NICHE[None] + biology.offsets
    return np.where(BASE[:, None] <= _OFF, 0.0, sigmoid(logits))


def state_levels(biology: Biology) -> Array:
    """(V, N, M) mean level, in uint8 steps, of a cell that looks like v in niche n."""
    return np.asarray(np.einsum("vnt,tnm->vnm", type_shares(biology), fractions(biology)) * LEVEL)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def express(patient: Patient, tissue: Tissue) -> NDArray[np.float32]:
    """(n, M) level of every marker in every cell, in uint8 steps.

    Chance is drawn from the tissue alone, so that the same cells under other facts differ by the facts only.
    """
    rng = np.random.default_rng(np.random.SeedSequence((*tissue.seed, 2)))
    count = tissue.x.size
    edges = np.cumsum(type_shares(patient.biology), axis=2)[tissue.visible, tissue.cell_niche]
    types = np.minimum((rng.random(count)[:, None] > edges).sum(axis=1), len(CellType) - 1)
    on = rng.random((count, len(MARKERS))) < fractions(patient.biology)[types, tissue.cell_niche]
    spread = np.exp(CELL_SPREAD * rng.standard_normal((count, len(MARKERS))) - CELL_SPREAD**2 / 2)
    return np.asarray(on * spread * LEVEL, dtype=np.float32)
