"""Haiku's words: marker names and their aliases, vectors of new markers, captions, class labels."""

from __future__ import annotations

from haiku_edge.runtime.vocabulary import (
    ALIASES,
    AMBIGUOUS,
    LEARNED_MARKERS,
    MARKER_VECTOR_WIDTH,
    PUBLISHED_MARKERS,
    AliasRule,
    AmbiguousName,
    Panel,
    canonical_marker,
    canonical_markers,
    canonical_panel,
    is_blank,
    nearest_names,
)

from .captions import INTRODUCTIONS, TRANSITIONS, kept_facts, metadata_only, split_metadata, write_caption
from .labels import DISEASE_TEMPLATES, TISSUE_TEMPLATES, canon_disease, canon_tissue, prompts
from .vectors import add_marker, read_marker_vectors

__all__ = [
    "ALIASES",
    "AMBIGUOUS",
    "DISEASE_TEMPLATES",
    "INTRODUCTIONS",
    "LEARNED_MARKERS",
    "MARKER_VECTOR_WIDTH",
    "PUBLISHED_MARKERS",
    "TISSUE_TEMPLATES",
    "TRANSITIONS",
    "AliasRule",
    "AmbiguousName",
    "Panel",
    "add_marker",
    "canon_disease",
    "canon_tissue",
    "canonical_marker",
    "canonical_markers",
    "canonical_panel",
    "is_blank",
    "kept_facts",
    "metadata_only",
    "nearest_names",
    "prompts",
    "read_marker_vectors",
    "split_metadata",
    "write_caption",
]
