"""Other edits of a cohort's notes, each alike in all patients, to compare the edit in question with.

An edit counts a patient only where it changes every fact that it names, and not into what the edit in question makes of
that patient's notes: a patient who has the value already is no sign that edits move little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from haiku_edge.runtime.counterfactual.edits import Pairs, same_key
from haiku_edge.runtime.counterfactual.statistics import LEAST_UNITS

RANDOM_EDITS: Final = 50
_SEED: Final = 42
_TRIES: Final = 20

Sets = tuple[tuple[str, str], ...]
"""(field, value); a field as `same_key` writes it."""


@dataclass(frozen=True, slots=True)
class BothNotes:
    """One patient's facts.

    Attributes:
        original: As they are.
        edited: With the edit in question.
    """

    original: Pairs
    edited: Pairs


def draw_sets(
    patients: Mapping[str, BothNotes], donors: Sequence[Mapping[str, str]], fields: int, count: int
) -> tuple[Sets, ...]:
    """Draw different edits of as many fields, with the values of one patient each.

    Args:
        patients: Who is edited.
        donors: Facts whose values are taken: those of the cohort's patients.
        fields: How many fields each changes.
        count: How many; fewer where there are not so many that change at least `LEAST_UNITS` patients.
    """
    owners = [{same_key(key) for key, _ in own.original} for own in patients.values()]
    keys = [key for key in sorted(set().union(*owners)) if sum(key in own for own in owners) >= LEAST_UNITS]
    values = [{same_key(key): value for key, value in own.items()} for own in donors]
    random = np.random.default_rng(_SEED)
    tried: set[Sets] = set()
    drawn: list[Sets] = []
    for _ in range(_TRIES * count if keys and values else 0):
        if len(drawn) == count:
            break
        chosen = sorted(random.choice(len(keys), min(fields, len(keys)), replace=False).tolist())
        donor = values[int(random.integers(len(values)))]
        edit = tuple((keys[i], donor[keys[i]]) for i in chosen if keys[i] in donor)
        if len(edit) == len(chosen) and (folded := _folded(edit)) not in tried:
            tried.add(folded)
            if sum(other_notes(own, edit) is not None for own in patients.values()) >= LEAST_UNITS:
                drawn.append(edit)
    return tuple(drawn)


def other_notes(own: BothNotes, edit: Sets) -> Pairs | None:
    """A patient's facts under another edit; None where it does not count this patient."""
    values = dict(edit)
    there = {same_key(key): value for key, value in own.original}
    if any(key not in there or there[key].casefold() == value.casefold() for key, value in edit):
        return None
    notes = tuple((key, values.get(same_key(key), value)) for key, value in own.original)
    return None if _folded(notes) == _folded(own.edited) else notes


def _folded(pairs: Pairs) -> Pairs:
    return tuple((key, value.casefold()) for key, value in pairs)
