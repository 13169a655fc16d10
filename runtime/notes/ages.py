"""Ages above 89 identify by themselves (HIPAA safe harbour, 45 CFR 164.514(b)(2)(i)(C)): all become one group.

Known are numbers of years, months, weeks or days, and ages in English and German words.
"""

from __future__ import annotations

import re

OLDEST_AGE_SHOWN = 89
AGE_GROUP = "90+"
AGE_WARNING = f"An age above {OLDEST_AGE_SHOWN} was written as {AGE_GROUP}, since it can identify a person."

# How many of a unit make a year.
_PER_YEAR = {"month": 12.0, "week": 52.18, "day": 365.25}
# A bare number under a key that says "age" is one in years up to three digits, in months up to 1,559 (no one is 130),
# and in days from 4,000 on (as the GDC gives it); between lie calendar years.
_MONTHS = range(1_000, 1_560)
_DAYS_FROM = 4_000

_YEARS = r"(?<![\d.,])(?P<years>\d{2,3}(?:\.\d+)?)(?!\d)\+?"
# Words that make a number an age, before it ("aged 92", "Alter: 92") or after it ("92-year-old", "92 y/o").
_BEFORE = r"(?P<before>\b(?:aged?|age at \w+|alter)\b(?: of)?[ :=]*)?"
_AFTER = (
    r"(?P<after>[ -]?(?:years?|yrs?|y)\b(?:[ -]?(?:of age|old|o\b|/o))?|[ -]?yo\b|[ -]?y/o\b|"
    r"[ -]?j[aä]hrige?[nrs]?\b| Jahre(?: alt)?\b)?"
)
# A number of months is no number of years, even after "aged".
_NOT_SMALLER = r"(?![ -]?(?:months?|mos?|weeks?|wks?|days?|Monate?|Wochen?|Tage?)\b)"
_IN_TEXT = re.compile(_BEFORE + _YEARS + _NOT_SMALLER + _AFTER, re.IGNORECASE)
# Under a key that says "age", a number alone or with words after it is one.
_WHOLE = re.compile(
    r"(?P<before>[ <>=≥≤~]*)" + _YEARS + _NOT_SMALLER + r"(?P<after>(?:[ -]?[a-z][a-z ]*)?)", re.IGNORECASE
)

_UNIT = r"(?P<unit>month|mo|week|wk|day|monat|woche|tag)(?:s|e|en|n)?"
_COUNT = r"(?<![\d.,])(?P<count>\d{1,3}(?:[,'’ ]\d{3})+|\d{3,6})(?:\.\d+)?"
_SMALL_IN_TEXT = re.compile(
    rf"\b(?:aged?|age at \w+|alter)\b(?: of)?[ :=]*{_COUNT}[ -]?{_UNIT}\b(?:[ -]?old\b)?|"
    + f"{_COUNT}[ -]?{_UNIT}".replace("<count>", "<count_2>").replace("<unit>", "<unit_2>")
    + r"\b[ -]?(?:old|of age|alt)\b",
    re.IGNORECASE,
)
_SMALL_WHOLE = re.compile(rf"[ <>=≥≤~]*{_COUNT}(?:[ -]?{_UNIT}\b[a-z -]*)?", re.IGNORECASE)

_ONES = "one|two|three|four|five|six|seven|eight|nine|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth"
_WORDS = (
    rf"(?:ninet(?:y|ieth)(?:[ -]?(?:{_ONES}))?|"
    rf"(?:(?:one|a)[ -])?hundred(?:(?:[ -]and)?[ -](?:{_ONES}|ten|eleven|twelve))?|"
    r"(?:(?:ein|zwei|drei|vier|fünf|sechs|sieben|acht|neun)und)?neunzig|(?:ein)?hundert(?:ein|eins|zwei|drei|vier|fünf)?)"
)
_WORDED = re.compile(
    rf"\b(?P<before>(?:aged?|alter)\b(?: of)?[ :=]*){_WORDS}\b|"
    rf"\b{_WORDS}(?=[ -]?(?:years?|yrs?|jahre?)\b(?:[ -](?:of age|old|alt)\b)|[ -]?y/?o\b|[ -]?j[aä]hrige?[nrsm]?\b)|"
    r"\b(?:nonagenarian|centenarian|supercentenarian)s?\b",
    re.IGNORECASE,
)
_WORDED_WHOLE = re.compile(rf"{_WORDS}(?P<after>[ -]?[a-z -]*)", re.IGNORECASE)


def hide_great_age(text: str, *, is_age: bool = False, unit: str = "") -> str:
    """Write ages above 89 as `90+`.

    Args:
        text: A value, or free text.
        is_age: True when the key says that the value is an age, so that a number needs no word beside it.
        unit: The unit that the key names ("months" in `age_in_months`), if any.
    """
    small = _SMALL_WHOLE.fullmatch(text) if is_age else None
    if small and (said := small["unit"] or unit or _likely_unit(small["count"])):
        return _counted(small["count"], said, text)
    whole = _WHOLE.fullmatch(text) if is_age else None
    if whole:
        return _grouped(whole)
    if is_age and (worded := _WORDED_WHOLE.fullmatch(text)):
        return AGE_GROUP + worded["after"]
    text = _WORDED.sub(lambda match: (match["before"] or "") + AGE_GROUP, text)
    text = _SMALL_IN_TEXT.sub(
        lambda match: _counted(match["count"] or match["count_2"], match["unit"] or match["unit_2"], match[0]), text
    )
    return _IN_TEXT.sub(_grouped, text)


def _likely_unit(count: str) -> str:
    number = int(re.sub(r"\D", "", count))
    return "day" if number >= _DAYS_FROM else "month" if number in _MONTHS else ""


def _counted(count: str, unit: str, text: str) -> str:
    """The group in place of a number of months, weeks or days that make more than 89 years."""
    letter = unit[0].casefold()
    per_year = _PER_YEAR["month" if letter == "m" else "week" if letter == "w" else "day"]
    years = int(int(re.sub(r"\D", "", count)) / per_year)
    return f"{AGE_GROUP} years" if years > OLDEST_AGE_SHOWN else text


def _grouped(match: re.Match[str]) -> str:
    says_age = match.re is _WHOLE or match["before"] or match["after"]
    if not says_age or int(float(match["years"])) <= OLDEST_AGE_SHOWN:
        return match[0]
    return f"{match['before'] or ''}{AGE_GROUP}{match['after'] or ''}"
