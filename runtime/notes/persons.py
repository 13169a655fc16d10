"""Keys that are a person's name: notes where the name stands left of the colon ("Zbigniew Kowalczyk": "grade 3").

No list holds all names, so the rule goes the other way: a key of two to five capitalised words, none of which is a word
of medicine, is taken for a name. A clinical key in that form loses its fact; written as `in_small_letters` it stays.
"""

from __future__ import annotations

import re
from functools import cache

from ._names import GIVEN_NAMES
from ._words import CLINICAL_WORDS
from .markers import ALIASES
from .patterns import CAPITAL

_LONGEST_NAME = 5
# Kowalczyk, Müller-Lüdenscheidt, O'Brien, McDonald, KOWALCZYK (five capitals and more, so that no gene is one).
_LETTER = r"[^\W\d_]"
_NAME_WORD = re.compile(
    rf"(?:{CAPITAL}['’])?{CAPITAL}{_LETTER}*[^\W\d_A-Z]{_LETTER}*|{CAPITAL}{{5,}}|(?:Mc|Mac){_LETTER}+"
)
_INITIAL = re.compile(rf"{CAPITAL}\.?")
_PARTICLES = frozenset(
    (
        "van",
        "von",
        "de",
        "der",
        "den",
        "del",
        "della",
        "di",
        "da",
        "la",
        "le",
        "al",
        "el",
        "bin",
        "ben",
        "dos",
        "y",
        "zu",
    )
)
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])")
# Endings of findings and drugs, which no list of words can hold.
_CLINICAL_ENDING = re.compile(
    r"\w{2,}(?:omas?|itis|osis|oses|emia|aemia|plasia|trophy|pathy|ectomy|otomy|oscopy|ology|ological|ation|ative|itive|inib|"
    r"mab|mabs|platin|taxel|rubicin|genic|genous|cytic|vascular|neural|lymphatic|receptor|status|ical|itis)"
)


def looks_like_a_person(key: str) -> bool:
    """Whether a key that no rule forbids reads like a person's name rather than like a clinical word.

    Examples:
        >>> looks_like_a_person("Zbigniew Kowalczyk"), looks_like_a_person("Tumor Size"), looks_like_a_person("Ki-67")
        (True, False, False)
    """
    words = [word for word in re.split(r"[\s,_-]+", _CAMEL.sub(" ", key)) if word]
    if any(character.isdigit() for character in key) or not 1 <= len(words) <= _LONGEST_NAME:
        return False
    if len(words) == 1:
        return words[0] in GIVEN_NAMES
    named = [word for word in words if _NAME_WORD.fullmatch(word)]
    others = [word for word in words if word not in named and word not in _PARTICLES and not _INITIAL.fullmatch(word)]
    return bool(named) and not others and not any(map(_is_clinical, words))


def _is_clinical(word: str) -> bool:
    lowered = word.casefold()
    return (
        lowered in CLINICAL_WORDS
        or lowered.removesuffix("s") in CLINICAL_WORDS
        or lowered in _marker_words()
        or _CLINICAL_ENDING.fullmatch(lowered) is not None
    )


@cache
def _marker_words() -> frozenset[str]:
    names = (name for group in ALIASES for name in group)
    return frozenset(word.casefold() for name in names for word in re.findall(r"[^\W\d_]{2,}", name))
