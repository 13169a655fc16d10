"""Spots of spatial transcriptomics as data: sections, their genes and patches, and the dataset on disk."""

from __future__ import annotations

from .dataset import SpotDataset, open_spots, write_spots
from .genes import log_normalise, log_normalise_sparse
from .section_file import decode_patch, encode_patch
from .types import DatasetSection, SectionSpots, SpotSection

__all__ = [
    "DatasetSection",
    "SectionSpots",
    "SpotDataset",
    "SpotSection",
    "decode_patch",
    "encode_patch",
    "log_normalise",
    "log_normalise_sparse",
    "open_spots",
    "write_spots",
]
