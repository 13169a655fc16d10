"""What a probe or a head reads: vectors of one modality, measured expression, or several of them side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError, UsageError

from ..evaluation.embedded_cohort import MODALITIES, EmbeddedCohort

EXPRESSION = "expression"
"""Name of the measured mean expression as a feature: what a panel says without any model."""

NOTES_MODALITIES = frozenset({"text", "caption"})
"""Features that are made from the notes, and so may hold what is asked for."""


def feature_matrix(cohort: EmbeddedCohort, features: str) -> NDArray[np.float32]:
    """Put the named features side by side.

    Args:
        cohort: The patches.
        features: One name or several joined by '+', such as 'he', 'he+text' or 'mif+expression'.

    Returns:
        (n, d) float32; NaN only in `expression`, where a panel lacks the marker.

    Raises:
        UsageError: A name is unknown or comes twice.
        CohortError: The cohort lacks the modality.
    """
    names = features.split("+")
    if len(set(names)) != len(names) or not set(names) <= {*MODALITIES, EXPRESSION}:
        raise UsageError(
            f"{features!r} names no features. Join some of {', '.join((*MODALITIES, EXPRESSION))} with '+', each once."
        )
    return np.concatenate([_column(cohort, name) for name in names], axis=1)


def reads_notes(features: str) -> bool:
    """Whether any of the named features is made from the notes."""
    return bool(NOTES_MODALITIES & set(features.split("+")))


def available_features(cohort: EmbeddedCohort) -> tuple[str, ...]:
    """The comparison that a cohort allows: each of he, mif and text alone, then H&E fused with the others."""
    single = [name for name in ("he", "mif", "text") if name in cohort.vectors]
    fused = [f"he+{name}" for name in ("mif", "text") if {"he", name} <= set(single)]
    return (*single, *fused, *(["he+mif+text"] if len(single) == 3 else []))


def _column(cohort: EmbeddedCohort, name: str) -> NDArray[np.float32]:
    if name == EXPRESSION:
        measured = np.isfinite(cohort.expression).any(axis=0)
        if not measured.any():
            raise CohortError("The cohort holds no measured expression. Choose other features.")
        return np.asarray(cohort.expression[:, measured], np.float32)
    if name not in cohort.vectors:
        raise CohortError(
            f"The cohort holds no {name!r} vectors, only {', '.join(cohort.vectors)}. Choose features among these, or "
            "embed the cohort with a bundle that has that tower."
        )
    return np.asarray(cohort.vectors[name], np.float32)
