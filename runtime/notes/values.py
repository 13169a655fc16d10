"""Finding identifiers in values and cutting them out of free text, by the table in `patterns`."""

from __future__ import annotations

import re
import unicodedata

from .patterns import VALUE_RULES

_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufe00-\ufe0f]")
_DASHES = re.compile("[\u2010-\u2015\u2212\u2043\ufe58\ufe63\uff0d]")
# Stands where something was cut out until all rules have run, so that the remaining parts can't join to a new word.
_CUT = "\ufffc"


def plain(text: str) -> str:
    """Text in NFKC form with plain dashes, single blanks and nothing invisible: what the rules are matched on."""
    text = _DASHES.sub("-", _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)))
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else _digit(c) for c in text).split())


def identifiers_in(text: str) -> tuple[str, ...]:
    """The kinds of identifier that a value holds, one for each match; empty for a clinical value."""
    return mask(text)[1]


def mask(text: str) -> tuple[str, tuple[str, ...]]:
    """Cut identifiers out of free text.

    Returns:
        The text that remains, in the form of `plain`, and the kind of each piece that was cut out.
    """
    remaining = plain(text).replace(_CUT, " ")
    kinds: list[str] = []
    for rule in VALUE_RULES:
        remaining, count = rule.pattern.subn(_CUT, remaining)
        kinds += [rule.kind] * count
    return " ".join(remaining.replace(_CUT, " ").split()), tuple(kinds)


def _digit(character: str) -> str:
    """A digit of any script as an ASCII digit, so that Arabic-Indic numbers are numbers to the rules."""
    return str(unicodedata.decimal(character)) if character.isdecimal() else character
