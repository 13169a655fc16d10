"""Build an atlas: the evidence that a bundle ships."""

from __future__ import annotations

from .build import Provenance, build_atlas
from .files import BuiltAtlas
from .from_dataset import AtlasParts, atlas_from_dataset
from .index import IndexKind, build_index, measure_recall
from .pictures import composite_colours, display_ranges, encode_patch

__all__ = [
    "AtlasParts",
    "BuiltAtlas",
    "IndexKind",
    "Provenance",
    "atlas_from_dataset",
    "build_atlas",
    "build_index",
    "composite_colours",
    "display_ranges",
    "encode_patch",
    "measure_recall",
]
