"""What the notes' vectors of a cohort saw: a model that reads its own answer measures nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from haiku_edge.runtime.errors import CohortError

from ..evaluation.embedded_cohort import EmbeddedCohort
from ..vocabulary.outcomes import is_outcome
from .features import reads_notes


def seen_keys(cohort: EmbeddedCohort) -> frozenset[str]:
    """Facts that the notes' vectors hold: as the cohort states, else all that are no outcome."""
    if cohort.notes_keys is not None:
        return frozenset(cohort.notes_keys)
    return frozenset(key for facts in cohort.facts.values() for key in facts if not is_outcome(key))


def tells_outcome(cohort: EmbeddedCohort, keys: Collection[str]) -> tuple[str, ...]:
    """Which of the outcome's own facts, and of all others that tell how a case ended, the notes' vectors saw."""
    return tuple(sorted(key for key in seen_keys(cohort) if key in keys or is_outcome(key)))


def check_risk_features(cohort: EmbeddedCohort, features: Sequence[str], keys: Collection[str]) -> None:
    """Refuse a risk model that reads notes which tell the outcome.

    Raises:
        CohortError: They do.
    """
    told = tells_outcome(cohort, keys)
    if told and any(reads_notes(name) for name in features):
        raise CohortError(
            f"The notes' vectors of this cohort saw {', '.join(told)}, so a risk learned from them knows the outcome. "
            "Leave text out of --features, or embed again without --with-outcomes and with --hide for these facts."
        )


def check_class_features(cohort: EmbeddedCohort, features: str, target: str) -> None:
    """Refuse to ship a classifier that reads its answer in the notes.

    Raises:
        CohortError: The notes' vectors saw the fact that it predicts.
    """
    if reads_notes(features) and target in seen_keys(cohort):
        raise CohortError(
            f"The notes' vectors of this cohort saw {target}, which the head should predict. Take --features he, or "
            f"embed again with --hide {target}."
        )
