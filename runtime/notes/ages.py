"""Ages above 89 identify by themselves (HIPAA safe harbour, 45 CFR 164.514(b)(2)(i)(C)): all become one group."""

from __future__ import annotations

import re

OLDEST_AGE_SHOWN = 89
AGE_GROUP = "90+"
AGE_WARNING = f"An age above {OLDEST_AGE_SHOWN} was written as {AGE_GROUP}, since it can identify a person."

_YEARS = r"(?<![\d.])(?P<years>\d{2,3}(?:\.\d+)?)(?!\d)\+?"
# Words that make a number an age, before it ("aged 92", "Alter: 92") or after it ("92-year-old", "92 y/o").
_BEFORE = r"(?P<before>\b(?:aged?|age at \w+|alter)\b(?: of)?[ :=]*)?"
_AFTER = (
    r"(?P<after>[ -]?(?:years?|yrs?|y)\b(?:[ -]?(?:of age|old|o\b|/o))?|[ -]?yo\b|[ -]?y/o\b|"
    r"[ -]?j[aä]hrige?[nrs]?\b| Jahre(?: alt)?\b)?"
)
_IN_TEXT = re.compile(_BEFORE + _YEARS + _AFTER, re.IGNORECASE)
# Under a key that says "age", a number alone or with words after it is one.
_WHOLE = re.compile(r"(?P<before>[ <>=≥≤~]*)" + _YEARS + r"(?P<after>(?:[ -]?[a-z][a-z ]*)?)", re.IGNORECASE)


def hide_great_age(text: str, *, is_age: bool = False) -> str:
    """Write ages above 89 as `90+`.

    Args:
        text: A value, or free text.
        is_age: True when the key says that the value is an age, so that a number needs no word beside it.
    """
    whole = _WHOLE.fullmatch(text) if is_age else None
    return _grouped(whole) if whole else _IN_TEXT.sub(_grouped, text)


def _grouped(match: re.Match[str]) -> str:
    says_age = match.re is _WHOLE or match["before"] or match["after"]
    if not says_age or int(float(match["years"])) <= OLDEST_AGE_SHOWN:
        return match[0]
    return f"{match['before'] or ''}{AGE_GROUP}{match['after'] or ''}"
