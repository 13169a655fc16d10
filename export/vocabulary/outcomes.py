"""Which clinical facts tell how a case ended: a new case's notes can't hold them, so no query may know them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

OUTCOME_WORDS = frozenset(
    {
        "survival", "os", "pfs", "dfs", "rfs", "dss", "efs", "mfs", "ttp", "ttr", "vital", "dead", "death", "died",
        "deceased", "alive", "mortality", "recurrence", "recurred", "recurrent", "relapse", "relapsed", "progression",
        "progressed", "followup", "response", "responder", "event", "events", "censored", "censoring", "outcome",
    }
)  # fmt: skip
"""Words of a key that make its fact an outcome."""

OUTCOME_PHRASES = (("follow", "up"), ("lost", "to"), ("disease", "free"), ("disease", "status"))
"""The same for words that stand next to each other."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_outcome(key: str) -> bool:
    """Whether a fact's key names an outcome.

    Examples:
        >>> [is_outcome(key) for key in ("survival_status", "PFS months", "osEvent", "stage", "position")]
        [True, True, True, False, False]
    """
    words = tuple(word.casefold() for word in _WORDS.findall(key))
    pairs = set(itertools.pairwise(words))
    return not OUTCOME_WORDS.isdisjoint(words) or not pairs.isdisjoint(OUTCOME_PHRASES)


def without_outcomes(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts that could be known before the outcome was, in their order."""
    return {key: value for key, value in facts.items() if not is_outcome(key)}
