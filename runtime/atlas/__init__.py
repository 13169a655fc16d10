"""The atlas: real mIF patches, their vectors, markers and pictures, and the search among them."""

from __future__ import annotations

from .exact import ExactIndex
from .facts import Facts, facts_schema, read_facts, write_facts
from .hnsw import HnswIndex, build_hnsw
from .open import EXACT_BELOW, Atlas, open_atlas, standardise
from .patches import NOT_KNOWN, PatchTable, PictureTable, patches_schema, read_patches, write_patches
from .pictures import LegendEntry, Pictures
from .probe import probe_hnswlib
from .types import Neighbours, VectorIndex

__all__ = [
    "EXACT_BELOW",
    "NOT_KNOWN",
    "Atlas",
    "ExactIndex",
    "Facts",
    "HnswIndex",
    "LegendEntry",
    "Neighbours",
    "PatchTable",
    "PictureTable",
    "Pictures",
    "VectorIndex",
    "build_hnsw",
    "facts_schema",
    "open_atlas",
    "patches_schema",
    "probe_hnswlib",
    "read_facts",
    "read_patches",
    "standardise",
    "write_facts",
    "write_patches",
]
