"""Spots of spatial transcriptomics on simulated tissue: raw counts of about a hundred genes."""

from .capture import DENSE_PITCH_PX, PITCH_PX, SPOT_PX
from .cut import Spots, cut_spots, render_spots
from .demonstration import GENE_TRUTH, write_gene_truth
from .genes import GENES

__all__ = [
    "DENSE_PITCH_PX",
    "GENES",
    "GENE_TRUTH",
    "PITCH_PX",
    "SPOT_PX",
    "Spots",
    "cut_spots",
    "render_spots",
    "write_gene_truth",
]
