"""The words of the simulated world: markers, panels, cell types, what H&E shows of them, and niches."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MPP: Final = 0.5
"""Micrometres per pixel of everything the simulator draws (a 20x scan)."""

MARKERS: Final = (
    "DAPI",
    "PanCK",
    "ECad",
    "Ki67",
    "CD45",
    "CD3e",
    "CD4",
    "CD8",
    "FoxP3",
    "CD20",
    "CD68",
    "PD1",
    "PDL1",
    "GranzymeB",
    "Vimentin",
    "aSMA",
    "CD31",
    "HLA-DR",
)
"""The simulated markers, named as in Haiku's vocabulary (2605.00925, code, `config.yaml`); neighbours bleed through."""

PANELS: Final = (
    MARKERS,
    tuple(m for m in MARKERS if m not in {"PDL1", "GranzymeB", "CD31"}),
    tuple(m for m in MARKERS if m not in {"FoxP3", "PD1", "Vimentin", "HLA-DR"}),
)
"""The three staining panels: one full, two that lack three or four markers."""


class Organ(IntEnum):
    """Where the primary tumour grew."""

    COLON = 0
    BREAST = 1
    LUNG = 2
    HEAD_AND_NECK = 3


class Niche(IntEnum):
    """What kind of tissue surrounds a cell; H&E shows it."""

    GLASS = 0
    TUMOUR = 1
    STROMA = 2
    LYMPHOID = 3
    GLAND = 4
    NECROSIS = 5
    VESSEL = 6
    ADIPOSE = 7


class Visible(IntEnum):
    """What a pathologist can name on H&E."""

    TUMOUR = 0
    EPITHELIUM = 1
    SPINDLE = 2
    ENDOTHELIUM = 3
    MACROPHAGE = 4
    LYMPHOCYTE = 5
    DEBRIS = 6
    ADIPOCYTE = 7


class CellType(IntEnum):
    """What a cell is. The lymphocytes look alike on H&E, and so do the fibroblasts."""

    TUMOUR = 0
    EPITHELIUM = 1
    FIBROBLAST = 2
    MYOFIBROBLAST = 3
    ENDOTHELIUM = 4
    MACROPHAGE = 5
    CD4 = 6
    REGULATORY = 7
    CD8 = 8
    B = 9
    DEBRIS = 10
    ADIPOCYTE = 11


class Compartment(IntEnum):
    """Where in or around a cell a marker sits."""

    NUCLEUS = 0
    MEMBRANE = 1
    CYTOPLASM = 2
    FIBRE = 3


VISIBLE_OF_TYPE: Final = (
    Visible.TUMOUR,
    Visible.EPITHELIUM,
    Visible.SPINDLE,
    Visible.SPINDLE,
    Visible.ENDOTHELIUM,
    Visible.MACROPHAGE,
    Visible.LYMPHOCYTE,
    Visible.LYMPHOCYTE,
    Visible.LYMPHOCYTE,
    Visible.LYMPHOCYTE,
    Visible.DEBRIS,
    Visible.ADIPOCYTE,
)
"""What H&E shows of each cell type, in the order of `CellType`."""

LYMPHOCYTES: Final = (CellType.CD4, CellType.REGULATORY, CellType.CD8, CellType.B)
"""The four kinds of lymphocyte, in the order of the composition logits."""

STATES: Final = len(Visible) * len(Niche)
"""Number of states (visible class, niche) that H&E can tell apart."""
