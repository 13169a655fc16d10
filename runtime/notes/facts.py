"""From pairs of key and JSON value to facts that may be shown: shape, empty values, identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import EmptyNotesError, NotesShapeError, OverlongNotesError, UnreadableNotesError
from .ages import AGE_WARNING, hide_great_age
from .keys import forbidden_key, key_words, unused_key
from .kinds import PERSON, told
from .persons import looks_like_a_person
from .types import Notes
from .values import identifiers_in, plain

MAX_FACTS = 200
# One fact is a phrase; a page of text under one key belongs into {"text": ...}.
MAX_FACT_CHARACTERS = 2000
# Six digits are kept of a measurement; from here on they would hide digits before the point.
_ROUNDED_FROM = 1e6

UNUSED_WARNING = "Facts on the position, spot or core of the sample are not used by the model; left out: {}."
_AGE_UNITS = frozenset({"month", "months", "week", "weeks", "day", "days"})

# Values that say nothing (Haiku's published code, caption recipe), compared in small letters.
NO_VALUE = frozenset({"", "-", "nan", "none", "n/a", "null"})

# A key that may be repeated in a message: it looks like a field's name, not like a person's.
_FIELD_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*|[a-z]+(?:[A-Z][a-z]+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Screened:
    """One pair after the rules: a fact, or the kinds for which it was left out (none: it had no value)."""

    fact: tuple[str, str] | None
    kinds: tuple[str, ...] = ()
    great_age: bool = False
    unused: bool = False


def notes_from_pairs(
    pairs: Iterable[tuple[str, object]], *, dropped: Iterable[str] = (), warnings: Iterable[str] = ()
) -> Notes:
    """Make notes from (key, JSON value) pairs.

    Args:
        pairs: In the order that the prompt will have.
        dropped: Kinds of identifier that were left out before.
        warnings: Sentences to pass on.

    Raises:
        NotesShapeError: A value is a list or an object.
        OverlongNotesError: Too many facts, or too long a fact.
        UnreadableNotesError: Two keys differ only in blanks.
        EmptyNotesError: No fact is left.
    """
    screened = [_screen(key, value) for key, value in _bounded(pairs)]
    facts = tuple(result.fact for result in screened if result.fact)
    kinds = told([*dropped, *(kind for result in screened for kind in result.kinds)])
    if not facts:
        raise EmptyNotesError(_nothing_left(kinds))
    if len(dict(facts)) < len(facts):
        raise UnreadableNotesError("The notes give the same key twice, so one value would be lost. Keep one of them.")
    great_age = (AGE_WARNING,) if any(result.great_age for result in screened) else ()
    unused = sum(result.unused for result in screened)
    left_out = (UNUSED_WARNING.format(unused),) if unused else ()
    return Notes(facts, None, kinds, (*warnings, *great_age, *left_out))


def value_text(key: str, value: object) -> str:
    """A JSON value as the prompt writes it: numbers without padding, true and false as yes and no, null as nothing.

    Raises:
        NotesShapeError: The value is a list or an object.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        # A long number is written out, so that a record number given as 8812345.0 is known as one.
        return format(value, ".6g" if abs(value) < _ROUNDED_FROM else ".0f")
    if isinstance(value, str | int):
        return plain(str(value))
    if value is None:
        return ""
    what = "a list" if isinstance(value, list) else "an object"
    raise NotesShapeError(
        f"The notes hold {what} under {shown_key(key)}; every fact must be one word, phrase or number. "
        'Write it as one string, such as "T3 N1 M0".'
    )


def shown_key(key: str) -> str:
    """A key for a message: itself where it looks like a field's name, else "one key", since it may be a name."""
    harmless = len(key) <= 40 and _FIELD_NAME.fullmatch(key) and not identifiers_in(key)
    return f'the key "{key}"' if harmless else "one of the keys"


def _bounded(pairs: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    """Pairs as text, refused where there are too many or where one is too long."""
    texts = [(plain(key), value_text(key, value)) for key, value in pairs]
    if len(texts) > MAX_FACTS:
        raise OverlongNotesError(
            f"The notes hold {len(texts)} facts; at most {MAX_FACTS} are read. Give those of this case."
        )
    for key, text in texts:
        if len(key) + len(text) > MAX_FACT_CHARACTERS:
            raise OverlongNotesError(
                f"The fact under {shown_key(key)} has more than {MAX_FACT_CHARACTERS} characters. "
                'Shorten it, or give the text as {"text": "..."}.'
            )
    return texts


def _screen(key: str, text: str) -> _Screened:
    if text.casefold() in NO_VALUE or not key:
        return _Screened(None)
    kind = forbidden_key(key)
    if kind:
        return _Screened(None, (kind,))
    if unused_key(key):
        return _Screened(None, unused=True)
    if looks_like_a_person(key):
        return _Screened(None, (PERSON,))
    kinds = identifiers_in(text) or identifiers_in(key)
    if kinds:
        return _Screened(None, kinds[:1])
    words = key_words(key)
    unit = next((word for word in words if word in _AGE_UNITS), "")
    shown = hide_great_age(text, is_age="age" in words, unit=unit)
    return _Screened((key, shown), great_age=shown != text)


def _nothing_left(kinds: tuple[str, ...]) -> str:
    if kinds:
        return (
            f"The notes hold no clinical fact: what stood in them was left out as identifying ({', '.join(kinds)}). "
            "Add facts such as tissue_type, disease, age or stage."
        )
    return "The notes hold no clinical fact. Add facts such as tissue_type, disease, age or stage."
