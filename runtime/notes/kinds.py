"""The kinds of identifier that are left out, as they are told to the user, and how often each was met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

PERSON: Final = "name of a person"
CLINICIAN: Final = "name of a clinician"
INSTITUTION: Final = "name of an institution"
ADDRESS: Final = "address or place"
BIRTH: Final = "birth date or place"
DATE: Final = "exact date"
RECORD: Final = "record, specimen or case number"
NATIONAL: Final = "insurance, national or account number"
PHONE: Final = "phone or fax number"
ONLINE: Final = "e-mail, web or network address"
LONG_NUMBER: Final = "number of seven digits or more"

KINDS: Final = (
    PERSON,
    CLINICIAN,
    INSTITUTION,
    ADDRESS,
    BIRTH,
    DATE,
    RECORD,
    NATIONAL,
    PHONE,
    ONLINE,
    LONG_NUMBER,
)


def told(kinds: Iterable[str]) -> tuple[str, ...]:
    """Say kinds with their counts, most frequent first, as `name of a person (2)`."""
    counts = Counter(kinds)
    order = sorted(counts, key=lambda kind: (-counts[kind], KINDS.index(kind)))
    return tuple(f"{kind} ({counts[kind]})" for kind in order)
