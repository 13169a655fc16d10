"""Edits of the notes: `--set FIELD=VALUE`, checked against the notes, the identifier rules and the atlas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import EmptyNotesError, UsageError
from ..notes import Notes
from ..notes.clinical import is_shown
from ..notes.facts import notes_from_pairs
from ..notes.keys import key_words

Pairs = tuple[tuple[str, str], ...]
"""Facts as (key, value) in the order of the notes."""

_FACTOR: Final = re.compile(r"[x×](\d+(?:\.\d+)?)", re.IGNORECASE)
_MEANT_AS_FACTOR: Final = re.compile(r"[x×]\s*[-+.,\d].*", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")

_GO_TOGETHER: Final = (
    ("stage", "tnm"),
    ("tissue type", "disease"),
    ("tissue type", "diagnosis"),
    ("disease", "diagnosis"),
    ("survival status", "survival"),
)
"""Facts of which one can hardly change alone."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One fact that was changed.

    Attributes:
        key: As the notes write it.
        before: Its value.
        after: The value that stands in the edited notes.
        patients_before: Atlas patients with the original value.
        patients_after: Atlas patients with the edited value.
        patients_known: Atlas patients of whom this fact is known at all.
    """

    key: str
    before: str
    after: str
    patients_before: int
    patients_after: int
    patients_known: int

    @property
    def shown(self) -> bool:
        """Whether an output may repeat it."""
        return is_shown(self.key)


@dataclass(frozen=True, slots=True)
class EditedNotes:
    """The notes as they are, and as they are imagined.

    Attributes:
        original: The notes.
        edited: The same with the edits.
        edits: What was changed.
    """

    original: Notes
    edited: Notes
    edits: tuple[Edit, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know of the edits."""
        return (*_unseen(self.edits), *_contradictions(self.edited, self.edits))


def parse_sets(texts: Sequence[str], *, option: str = "--set") -> tuple[tuple[str, str], ...]:
    """Read FIELD=VALUE options; `option` is what a message calls them.

    Raises:
        UsageError: None is given, one has no '=' or no value, or a field is set twice.
    """
    if not texts:
        raise UsageError("Nothing is edited. Pass --set FIELD=VALUE, such as --set stage=IV.")
    pairs = []
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals or not field.strip() or not value.strip():
            raise UsageError(f"{option} takes FIELD=VALUE, such as {option} stage=IV.")
        pairs.append((field.strip(), value.strip()))
    if len({same_key(field) for field, _ in pairs}) < len(pairs):
        raise UsageError(f"{option} names a field twice. Name each field once.")
    return tuple(pairs)


def edit_notes(notes: Notes, sets: Sequence[tuple[str, str]], facts: Mapping[str, Mapping[str, str]]) -> EditedNotes:
    """Make the edited notes.

    Args:
        notes: The case's own.
        sets: (field, value); a value of the form x2.4 multiplies the number in the original.
        facts: Facts of the atlas's patients, for counting.

    Raises:
        UsageError: The notes are free text, lack a field, have that value already, or the value can't stand in notes.
    """
    if notes.text is not None:
        raise UsageError("The notes are free text, which can't be edited by field. Give them as facts.")
    screened = edit_facts(notes.facts, sets, shown=tuple(key for key, _ in notes.shown_facts))
    before, after = dict(notes.facts), dict(screened.facts)
    keys = [key for key, value in screened.facts if before[key] != value]
    if len(keys) < len(sets):
        raise UsageError("A field of --set has that value already, so nothing would change.")
    return EditedNotes(notes, screened, tuple(_count(key, before[key], after[key], facts) for key in keys))


def edit_facts(facts: Pairs, sets: Sequence[tuple[str, str]], *, shown: Sequence[str] | None = None) -> Notes:
    """Edit facts that passed the rules of `notes.json`; what is edited must pass them too.

    Args:
        facts: The original.
        sets: (field, value).
        shown: Keys that a message may name; all by default.

    Raises:
        UsageError: A field is not there, or its new value is left out as identifying or as saying nothing.
    """
    edited = apply_sets(facts, sets, shown=shown)
    screened = _screen(edited)
    if [key for key, _ in screened.facts] != [key for key, _ in edited]:
        raise UsageError(
            "A value of --set would be left out of the notes, as identifying or as saying nothing. Set a clinical one."
        )
    return screened


def apply_sets(facts: Pairs, sets: Sequence[tuple[str, str]], *, shown: Sequence[str] | None = None) -> Pairs:
    """The facts with some values replaced, their order kept.

    Args:
        facts: The original.
        sets: (field, value); fields match however they are written.
        shown: Keys that a message may name; all by default.

    Raises:
        UsageError: A field is not there, or a factor meets a value without a number.
    """
    own = {same_key(key): key for key, _ in facts}
    values = dict(facts)
    for field, value in sets:
        key = own.get(same_key(field))
        if key is None:
            there = ", ".join(values if shown is None else shown) or "none that may be named"
            raise UsageError(f"The notes hold no such field as --set names. Their fields are: {there}.")
        values[key] = _new_value(values[key], value)
    return tuple(values.items())


def same_key(key: str) -> str:
    """A key for comparison: `Survival-Status`, `survival_status` and `survivalStatus` are the same."""
    return "".join(key_words(key))


def patients_with(facts: Mapping[str, Mapping[str, str]], key: str, value: str | None = None) -> int:
    """How many patients have a fact, or have it with this value."""
    wanted = same_key(key)
    values = [v for own in facts.values() for k, v in own.items() if same_key(k) == wanted]
    return len(values) if value is None else sum(v.casefold() == value.casefold() for v in values)


def _new_value(original: str, value: str) -> str:
    factor = _FACTOR.fullmatch(value)
    if factor is None and _MEANT_AS_FACTOR.fullmatch(value):
        raise UsageError("--set multiplies by x and a number that is not negative, with a point: x2.4.")
    if factor is None:
        return value
    number = _NUMBER.search(original)
    if number is None:
        raise UsageError(f"--set multiplies by {factor[1]}, but the original value holds no number.")
    return f"{original[: number.start()]}{round(float(number[0]) * float(factor[1]))}{original[number.end() :]}"


def _screen(facts: Pairs) -> Notes:
    try:
        return notes_from_pairs(facts)
    except EmptyNotesError:
        raise UsageError("The edited notes hold no clinical fact. Set a clinical value.") from None


def _count(key: str, before: str, after: str, facts: Mapping[str, Mapping[str, str]]) -> Edit:
    return Edit(
        key,
        before,
        after,
        patients_with(facts, key, before),
        patients_with(facts, key, after),
        patients_with(facts, key),
    )


def _unseen(edits: Sequence[Edit]) -> list[str]:
    warnings = []
    for edit in edits:
        what = f"{edit.key} = {edit.after}" if edit.shown else "an edited value"
        if not edit.patients_known:
            warnings.append(f"No atlas patient's {edit.key if edit.shown else 'edited fact'} is known.")
        elif not edit.patients_after:
            warnings.append(
                f"No patient of the atlas has {what}: nothing retrieved can speak for it, whatever the model says."
            )
    return warnings


def _contradictions(edited: Notes, edits: Sequence[Edit]) -> list[str]:
    there = {same_key(key): (key, value) for key, value in edited.shown_facts}
    changed = {same_key(edit.key) for edit in edits}
    warnings = []
    for pair in _GO_TOGETHER:
        for one, other in (pair, pair[::-1]):
            key, partner = same_key(one), same_key(other)
            if key in changed and key in there and partner in there and partner not in changed:
                warnings.append(
                    f"{there[key][0]} was edited and {there[partner][0]} still says {there[partner][1]}: the edited "
                    "notes may contradict themselves."
                )
    return warnings
