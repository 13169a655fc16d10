"""The simulated genes: whose they are, where they are on, what moves them. `docs/simulator.md` states them in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..expression import A, B, D, E, F, H, K, N, P, R, T, Y
from ..patient import DIAGNOSES
from ..vocabulary import MARKERS, CellType, Niche

OFF: Final = -9.0
"""Logit of a cell type that never makes a gene's RNA."""

Array = NDArray[np.float64]
Logits = tuple[tuple[tuple[CellType, ...], float], ...]

LIVING: Final = tuple(t for t in CellType if t != D)
_T_CELLS: Final = (H, R, K)
_LYMPHOCYTES: Final = (H, R, K, B)
_STROMAL: Final = (F, Y, N)


@dataclass(frozen=True, slots=True)
class Gene:
    """One gene.

    Attributes:
        symbol: As HGNC writes it.
        level: Mean count of an on-cell of unit size in a spot of unit capture.
        follows: Marker whose on and off it shares, cell by cell; then cell types, niches and facts are the marker's.
        on: Logits of the on-share by cell type; a type that isn't named never makes it.
        niche: Logits that a niche adds.
        diagnosis: Logits that each of the eight diagnoses adds, organ by organ, the inflamed one second; or ().
        facts: Logits that facts add, by the names of `FACTS`.
        genotype: Whether half of the patients lack the gene in their germline, which nothing tells.
        stress: Deviation of the logarithm of a factor of the sample, which nothing tells (handling before fixation).
    """

    symbol: str
    level: float
    follows: str | None = None
    on: Logits = ()
    niche: tuple[tuple[Niche, float], ...] = ()
    diagnosis: tuple[float, ...] = ()
    facts: tuple[tuple[str, float], ...] = ()
    genotype: bool = False
    stress: float = 0.0


FACTS: Final = ("stage", "grade", "metastasis", "cytotoxicity", "male")
"""What may move a gene: stage - 2, grade - 2, metastasis (0 or 1), hidden cytotoxicity, sex (1 is male)."""

SIZES: Final[dict[CellType, float]] = {
    T: 1.2, E: 0.9, F: 0.7, Y: 0.8, N: 0.6, P: 1.0, H: 0.4, R: 0.4, K: 0.4, B: 0.45, D: 0.08, A: 0.8,
}  # fmt: skip
"""How much RNA a cell holds, by type."""


def _organs(colon: float, breast: float, lung: float, head: float, *, inflamed: float = 0.0) -> tuple[float, ...]:
    """Logits by organ, and what the inflamed diagnosis of each adds."""
    return tuple(value + extra for value in (colon, breast, lung, head) for extra in (0.0, inflamed))


def _inflamed(logit: float) -> tuple[float, ...]:
    """A logit that the inflamed diagnosis of every organ adds."""
    return _organs(0, 0, 0, 0, inflamed=logit)


def _only(*organs: int) -> tuple[float, ...]:
    """On in these organs (colon 0 to head and neck 3) alone."""
    return _organs(*(0.0 if organ in organs else -7.0 for organ in range(4)))


_SQUAMOUS: Final = (-6.0, -6.0, -6.0, -1.5, -6.0, 0.0, 0.0, 0.0)
_GLANDULAR: Final = (0.0, 0.0, 0.0, 0.0, 0.0, -2.0, -2.0, -2.0)
_HORMONE: Final = (-7.0, -7.0, 0.0, -5.0, -7.0, -7.0, -7.0, -7.0)
_REPAIR: Final = (0.0, -4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_VIRAL: Final = (-1.0, -1.0, -1.0, 0.5, -1.0, -1.0, -2.0, 4.0)
_LUNG_GLANDS: Final = (-7.0, -7.0, -7.0, -7.0, 0.0, -5.0, -7.0, -7.0)

_PROTEINS: Final = (
    Gene("KRT8", 6.0, "PanCK"),
    Gene("KRT18", 5.0, "PanCK"),
    Gene("CDH1", 2.5, "ECad"),
    Gene("MKI67", 2.5, "Ki67"),
    Gene("TOP2A", 2.0, "Ki67"),
    Gene("CCNB1", 1.2, "Ki67"),
    Gene("PTPRC", 3.0, "CD45"),
    Gene("CD3E", 3.0, "CD3e"),
    Gene("CD3D", 3.5, "CD3e"),
    Gene("TRAC", 5.0, "CD3e"),
    Gene("CD4", 1.5, "CD4"),
    Gene("CD8A", 3.5, "CD8"),
    Gene("CD8B", 2.0, "CD8"),
    Gene("FOXP3", 2.5, "FoxP3"),
    Gene("MS4A1", 4.0, "CD20"),
    Gene("CD79A", 5.0, "CD20"),
    Gene("CD68", 3.0, "CD68"),
    Gene("PDCD1", 2.0, "PD1"),
    Gene("CD274", 1.0, "PDL1"),
    Gene("GZMB", 5.0, "GranzymeB"),
    Gene("VIM", 7.0, "Vimentin"),
    Gene("ACTA2", 9.0, "aSMA"),
    Gene("PECAM1", 3.5, "CD31"),
    Gene("HLA-DRA", 6.0, "HLA-DR"),
    Gene("CD74", 9.0, "HLA-DR"),
)

_EPITHELIAL: Final = (
    Gene("EPCAM", 3.0, on=(((T,), 2.0), ((E,), 2.5)), diagnosis=_GLANDULAR, facts=(("grade", -0.3),)),
    Gene("KRT19", 5.0, on=(((T,), 1.5), ((E,), 2.0)), diagnosis=_GLANDULAR),
    Gene("KRT7", 4.0, on=(((T, E), 1.5),), diagnosis=(-5, -5, 0, 0, 0.5, -2.5, -3, -3)),
    Gene("KRT20", 3.0, on=(((T,), 1.0), ((E,), 1.5)), diagnosis=_only(0), facts=(("grade", -0.4),)),
    Gene("CDX2", 2.0, on=(((T, E), 1.5),), diagnosis=_only(0), facts=(("grade", -0.4),)),
    Gene("CEACAM5", 5.0, on=(((T,), 1.5), ((E,), -0.5)), diagnosis=_organs(0, -3, -1, -2)),
    Gene("MUC2", 8.0, on=(((E,), 1.0), ((T,), -3.0)), diagnosis=_organs(0, -7, -7, -7, inflamed=0.8)),
    Gene("GATA3", 3.0, on=(((T, E), 1.5), (_T_CELLS, -2.0)), diagnosis=(-5, -5, 0, -1.5, -5, -5, -5, -5)),
    Gene("ESR1", 3.0, on=(((T,), 1.5), ((E,), 0.0)), diagnosis=_HORMONE, facts=(("grade", -0.5),)),
    Gene("PGR", 2.0, on=(((T, E), 0.0),), diagnosis=_HORMONE, facts=(("grade", -0.6),)),
    Gene("ERBB2", 2.0, on=(((T,), 0.0), ((E,), -0.5)), diagnosis=_organs(0, 0.5, 0, 0, inflamed=-0.7)),
    Gene("SCGB2A2", 9.0, on=(((T,), 0.0), ((E,), 1.0)), diagnosis=_only(1), facts=(("grade", -0.4),)),
    Gene("NKX2-1", 2.0, on=(((T, E), 1.5),), diagnosis=_LUNG_GLANDS),
    Gene("NAPSA", 4.0, on=(((T, E), 1.0),), diagnosis=_LUNG_GLANDS, facts=(("grade", -0.4),)),
    Gene("SFTPC", 12.0, on=(((E,), 1.5), ((T,), -2.5)), diagnosis=_organs(-7, -7, 0, -7)),
    Gene("KRT5", 8.0, on=(((T,), 1.8), ((E,), 0.0)), diagnosis=_SQUAMOUS),
    Gene("KRT14", 6.0, on=(((T,), 1.0), ((E,), 0.0)), diagnosis=_SQUAMOUS, facts=(("grade", 0.3),)),
    Gene("TP63", 2.0, on=(((T,), 1.5), ((E,), 0.0)), diagnosis=_SQUAMOUS),
    Gene("DSG3", 2.5, on=(((T,), 1.0),), diagnosis=_SQUAMOUS, facts=(("grade", -0.5),)),
    Gene("CDKN2A", 3.0, on=(((T,), -0.5),), diagnosis=_VIRAL),
    Gene("MLH1", 1.2, on=(((T,), 1.0), ((E, F, Y), 0.0)), diagnosis=_REPAIR),
    Gene("SNAI2", 2.0, on=(((T,), -2.0), ((F, Y), 0.3)), facts=(("grade", 0.5), ("metastasis", 0.6))),
    Gene("MMP7", 3.0, on=(((T,), -1.0),), facts=(("stage", 0.5), ("metastasis", 0.4))),
    Gene("MYC", 2.0, on=(((T,), 0.0), ((E, B), -1.5)), facts=(("grade", 0.4),)),
)

_GROWTH: Final = (
    Gene("PCNA", 2.5, on=(((T,), 0.3), ((E,), -1.0), (_LYMPHOCYTES, -1.5)), facts=(("grade", 0.6),)),
    Gene("VEGFA", 2.5, on=(((T,), -1.5), ((P,), -1.5)), niche=((Niche.NECROSIS, 2.5),), facts=(("stage", 0.2),)),
    Gene("CA9", 4.0, on=(((T,), -3.0),), niche=((Niche.NECROSIS, 3.5),)),
    Gene("SLC2A1", 3.0, on=(((T,), -1.0), ((E,), -2.5)), niche=((Niche.NECROSIS, 2.5),), facts=(("grade", 0.5),)),
    Gene("NDRG1", 3.5, on=(((T,), -1.5), ((E, P), -2.0)), niche=((Niche.NECROSIS, 3.0),)),
    Gene("SPP1", 10.0, on=(((P,), -0.5), ((T,), -3.0)), niche=((Niche.NECROSIS, 2.0),), facts=(("stage", 0.6),)),
)

_STROMA: Final = (
    Gene("COL1A1", 14.0, on=(((F,), 2.0), ((Y,), 3.0)), facts=(("stage", 0.3),)),
    Gene("COL1A2", 10.0, on=(((F, Y), 2.5),)),
    Gene("COL3A1", 12.0, on=(((F, Y), 2.5), ((N,), -1.5))),
    Gene("DCN", 6.0, on=(((F,), 2.5), ((Y,), 0.0))),
    Gene("LUM", 6.0, on=(((F,), 2.0), ((Y,), 0.0))),
    Gene("FN1", 6.0, on=(((F, Y), 1.0), ((N,), 0.0), ((T,), -2.5)), facts=(("grade", 0.3),)),
    Gene("POSTN", 6.0, on=(((Y,), 1.0), ((F,), -1.5)), facts=(("stage", 0.5),)),
    Gene("FAP", 2.5, on=(((Y,), 0.8), ((F,), -2.0)), facts=(("stage", 0.5),)),
    Gene("TAGLN", 10.0, on=(((Y,), 2.5), ((F, N), -1.5))),
    Gene("VWF", 5.0, on=(((N,), 2.5),)),
    Gene("CLDN5", 3.5, on=(((N,), 2.0),)),
    Gene("PLVAP", 4.0, on=(((N,), 0.5),), facts=(("grade", 0.4),)),
    Gene("ADIPOQ", 14.0, on=(((A,), 3.0),)),
    Gene("PLIN1", 9.0, on=(((A,), 3.0),)),
    Gene("FABP4", 12.0, on=(((A,), 3.0), ((N,), -1.5))),
)

_IMMUNE: Final = (
    Gene("IL7R", 3.5, on=(((H,), 1.5), ((K,), -0.5), ((R,), -2.0))),
    Gene("CTLA4", 3.0, on=(((R,), 2.0), ((H,), -2.0)), facts=(("stage", 0.3),)),
    Gene("IL2RA", 2.5, on=(((R,), 1.5), ((H,), -3.0))),
    Gene("NKG7", 6.0, on=(((K,), 2.0),)),
    Gene("PRF1", 3.5, on=(((K,), 0.5),), diagnosis=_inflamed(0.4), facts=(("stage", -0.4), ("cytotoxicity", 0.6))),
    Gene("IFNG", 1.5, on=(((K,), -0.8), ((H,), -2.5)), diagnosis=_inflamed(0.6), facts=(("cytotoxicity", 0.6),)),
    Gene("LAG3", 2.0, on=(((K,), -0.8), ((R,), -1.5)), niche=((Niche.TUMOUR, 0.6),), facts=(("stage", 0.4),)),
    Gene("CCL5", 7.0, on=(((K,), 1.5), ((H,), -1.0)), diagnosis=_inflamed(0.4)),
    Gene("CXCL13", 7.0, on=(((H,), -2.0),), niche=((Niche.LYMPHOID, 2.5),)),
    Gene("SELL", 3.0, on=(((H, B), 0.0), ((K,), -1.0)), niche=((Niche.LYMPHOID, 1.0),)),
    Gene("IGKC", 30.0, on=(((B,), -0.5),), niche=((Niche.STROMA, 1.5),)),
    Gene("JCHAIN", 12.0, on=(((B,), -1.0),), niche=((Niche.STROMA, 1.5),), diagnosis=_organs(0.8, 0, 0, 0)),
    Gene("CD163", 3.0, on=(((P,), 1.0),), facts=(("stage", 0.4),)),
    Gene("LYZ", 10.0, on=(((P,), 2.0), ((E,), -2.5))),
    Gene("C1QA", 7.0, on=(((P,), 1.8),)),
    Gene("MARCO", 4.0, on=(((P,), 0.5),), diagnosis=_organs(-3, -3, 0, -3)),
)

_INTERFERON: Final = (
    Gene("STAT1", 2.5, on=((LIVING, -0.8),), diagnosis=_inflamed(1.0), facts=(("cytotoxicity", 0.4),)),
    Gene("ISG15", 4.0, on=((LIVING, -1.5),), diagnosis=_inflamed(1.0), facts=(("cytotoxicity", 0.3),)),
    Gene("IFIT1", 3.0, on=((LIVING, -2.5),), diagnosis=_inflamed(1.0)),
    Gene("CXCL9", 6.0, on=(((P,), -0.8),), diagnosis=_inflamed(1.0), facts=(("cytotoxicity", 0.5),)),
    Gene("CXCL10", 6.0, on=(((P,), -1.0), ((T,), -3.5)), diagnosis=_inflamed(1.0), facts=(("cytotoxicity", 0.5),)),
    Gene("IDO1", 3.0, on=(((P,), -1.0), ((T,), -3.5)), diagnosis=_inflamed(1.2), facts=(("stage", 0.2),)),
)

_EVERYWHERE: Final = tuple(
    Gene(symbol, level, on=((LIVING, 4.0), ((D,), 2.0)))
    for symbol, level in (
        ("ACTB", 8.0),
        ("GAPDH", 6.0),
        ("B2M", 8.0),
        ("EEF1A1", 9.0),
        ("RPLP0", 6.0),
        ("TMSB10", 6.0),
        ("UBC", 4.0),
    )
)

_UNSEEN: Final = (
    Gene("XIST", 3.0, on=((LIVING, 2.0),), facts=(("male", -11.0),)),
    Gene("RPS4Y1", 2.5, on=((LIVING, -8.0),), facts=(("male", 9.5),)),
    Gene("GSTM1", 2.0, on=((LIVING, 0.5),), genotype=True),
    Gene("ERAP2", 2.0, on=((LIVING, 0.5),), genotype=True),
    Gene("FOS", 3.0, on=((LIVING, 0.0),), stress=0.7),
    Gene("JUN", 3.0, on=((LIVING, 0.0),), stress=0.6),
    Gene("HSPA1A", 2.5, on=((LIVING, 0.0),), stress=0.8),
    Gene("NEAT1", 3.0, on=((LIVING, 1.0),), stress=0.4),
)

TABLE: Final = (*_PROTEINS, *_EPITHELIAL, *_GROWTH, *_STROMA, *_IMMUNE, *_INTERFERON, *_EVERYWHERE, *_UNSEEN)
"""All genes, in the order of every array."""

GENES: Final = tuple(gene.symbol for gene in TABLE)
"""Their symbols."""

LEVELS: Final = np.array([gene.level for gene in TABLE])
"""(G,) mean count of an on-cell of unit size."""

CELL_SIZES: Final = np.array([SIZES[kind] for kind in CellType])
"""(T,) RNA of a cell relative to one of unit size."""

FOLLOWERS: Final = np.array([gene.follows is not None for gene in TABLE])
"""(G,) bool, which genes share a marker's on and off."""

FOLLOWED: Final = np.array([MARKERS.index(gene.follows) for gene in TABLE if gene.follows is not None])
"""Markers of the followers, in their order."""


def _logits_by_type() -> Array:
    """(T, G) base logits."""
    table = np.full((len(CellType), len(TABLE)), OFF)
    for column, gene in enumerate(TABLE):
        for types, logit in gene.on:
            table[list(types), column] = logit
    return table


def _logits_by_niche() -> Array:
    """(N, G) logits that the niche adds."""
    table = np.zeros((len(Niche), len(TABLE)))
    for column, gene in enumerate(TABLE):
        for niche, logit in gene.niche:
            table[niche, column] = logit
    return table


BASE: Final = _logits_by_type()
NICHE: Final = _logits_by_niche()
DIAGNOSIS: Final = np.array([gene.diagnosis or (0.0,) * (2 * len(DIAGNOSES)) for gene in TABLE]).T
"""(8, G) logits of each diagnosis."""
FACT: Final = np.array([[dict(gene.facts).get(name, 0.0) for gene in TABLE] for name in FACTS])
"""(F, G) logits per unit of each fact."""
GENOTYPE: Final = np.array([gene.genotype for gene in TABLE])
STRESS: Final = np.array([gene.stress for gene in TABLE])
