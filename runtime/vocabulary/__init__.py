"""The published marker names, other names for them, and how the channels of an image are sorted out by them."""

from __future__ import annotations

from .aliases import ALIASES, AMBIGUOUS, AliasRule, AmbiguousName
from .markers import (
    Panel,
    canonical_marker,
    canonical_markers,
    canonical_panel,
    is_blank,
    nearest_names,
    same_spelling,
)
from .names import LEARNED_MARKERS, MARKER_VECTOR_WIDTH, PUBLISHED_MARKERS

__all__ = [
    "ALIASES",
    "AMBIGUOUS",
    "LEARNED_MARKERS",
    "MARKER_VECTOR_WIDTH",
    "PUBLISHED_MARKERS",
    "AliasRule",
    "AmbiguousName",
    "Panel",
    "canonical_marker",
    "canonical_markers",
    "canonical_panel",
    "is_blank",
    "nearest_names",
    "same_spelling",
]
