"""Whether a slide's file name may be repeated: the third table of rules, for words glued together by `_`, `-` and `.`.

A name is told to be identifying where it holds what the rules of `patterns` know, a date, six digits in a row, a
labelled or an accession number, a UUID, a DICOM UID, a TCGA barcode (each names one record), or a common given name
beside another word. A rarer personal name alone ("Quarx_Fnord") can't be told from an ordinary word by any rule.
"""

from __future__ import annotations

import re

from ._names import GIVEN_NAMES
from .values import identifiers_in, plain

_TOKENS = re.compile(r"[^\W\d_]+|\d+")
_SUFFIX = re.compile(r"(?:\.(?!\d)[A-Za-z0-9]{2,8}){1,2}$")

_GAP = r"[ _.\-]"
_START, _END = r"(?<![^\W_])", r"(?![^\W_])"
_DD, _MM = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_YYYY = r"(?:19|20)\d{2}"
_MONTH = (
    r"(?:jan(?:uary?)?|feb(?:ruary?)?|mar(?:ch)?|m[aä]rz|apr(?:il)?|may|mai|june?|juni|july?|juli|aug(?:ust)?|sept?(?:ember)?|"
    r"o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)"
)


def _any_case(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# Each pattern with its reason.
NAME_RULES = (
    (_any_case(r"\d{6}"), "Six digits are a short date or a record number; a running number of slides has fewer."),
    (
        _any_case(
            rf"(?<!\d)(?:{_YYYY}{_GAP}{_MM}{_GAP}{_DD}|{_DD}{_GAP}{_DD}{_GAP}{_YYYY}|{_YYYY}{_GAP}(?:0[1-9]|1[0-2])|"
            rf"(?:0[1-9]|1[0-2]){_GAP}{_YYYY}|[0-3]\d{_GAP}[0-3]\d{_GAP}\d\d)(?!\d)"
        ),
        "A date in digits, or a year and month.",
    ),
    (
        _any_case(
            rf"(?<!\d){_DD}{_GAP}?{_MONTH}{_GAP}?(?:{_YYYY}|\d\d)(?!\d)|"
            rf"(?<![^\W\d_]){_MONTH}{_GAP}?(?:{_DD}{_GAP})?{_YYYY}(?!\d)|(?<!\d){_YYYY}{_GAP}?{_MONTH}(?![^\W\d_])"
        ),
        "A date with the month as a word.",
    ),
    (
        _any_case(
            r"(?<![^\W\d_])(?:mrn|pid|dob|ssn|nhs|nhi|hcn|uhid|empi|kvnr|acc|accession|patient|pat|pt|ptid|patid|patientid|"
            rf"subject|person|record|geb|born)(?:{_GAP}?(?:id|no|nr|num|number))?[ _.#=:\-]{{0,3}}[a-z]{{0,2}}\d"
        ),
        "A number after a word for a person or a record.",
    ),
    (
        _any_case(rf"(?<![^\W\d_])case(?:{_GAP}?(?:id|no|nr))?{_GAP}{{0,2}}\d{{4,}}"),
        "A case number of four digits or more; 'case_1' only counts the files of a study.",
    ),
    (
        _any_case(
            rf"{_START}(?!cd|ck|ki|x|p53|p63|p16|p40|il)[a-z]{{1,4}}{_GAP}?\d{{2}}{_GAP}\d{{3,}}{_END}|"
            rf"{_START}[a-z]{{1,2}}{_GAP}?{_YYYY}{_GAP}\d{{3,}}{_END}|"
            rf"{_START}\d{{2}}{_GAP}?(?!x)[a-z]{{1,3}}{_GAP}?\d{{3,}}{_END}"
        ),
        "A laboratory's accession number: letters, year, running number (S12-3456).",
    ),
    (_any_case(r"\^"), "The caret parts family and given names in DICOM (Doe^Jane)."),
)

_COMMON_NAMES = frozenset(GIVEN_NAMES) - {"Jan"}


def identifiers_in_name(name: str) -> bool:
    """Whether a file name looks as if it held a person's name, a date or a record number.

    A personal name is only known where it is common ("Jane") and stands beside another word; a False is no proof that
    the name is harmless.

    Args:
        name: A file's name, with or without its suffix.

    Examples:
        >>> identifiers_in_name("Doe_19561231_MRN12345.svs"), identifiers_in_name("CMU-1-Small-Region.svs")
        (True, False)
    """
    stem = _SUFFIX.sub("", plain(name))
    blanked = " ".join(stem.replace("_", " ").split())
    if any(pattern.search(stem) for pattern, _ in NAME_RULES):
        return True
    return bool(identifiers_in(stem) or identifiers_in(blanked)) or _common_name(stem)


def _common_name(stem: str) -> bool:
    words = [word for word in _TOKENS.findall(stem) if word.isalpha()]
    return len(words) > 1 and any(word.title() in _COMMON_NAMES for word in words if not word.islower())
