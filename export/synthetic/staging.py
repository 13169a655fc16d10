"""Stage groups from T, N and M, simplified from the eighth edition of the TNM classification."""

from __future__ import annotations

import re
from typing import Final

from haiku_edge.runtime.errors import UsageError

from .vocabulary import Organ

_TNM: Final = re.compile(r"T([1-4]) N([0-2]) M([01])")

# Rows: N0, N1, N2. Columns: T1 to T4.
_GROUPS: Final = {
    Organ.COLON: (("I", "I", "IIA", "IIB"), ("IIIA", "IIIA", "IIIB", "IIIB"), ("IIIA", "IIIB", "IIIC", "IIIC")),
    Organ.BREAST: (("IA", "IIA", "IIB", "IIIB"), ("IIA", "IIB", "IIIA", "IIIB"), ("IIIA", "IIIA", "IIIA", "IIIB")),
    Organ.LUNG: (("IA", "IB", "IIB", "IIIA"), ("IIB", "IIB", "IIIA", "IIIA"), ("IIIA", "IIIA", "IIIB", "IIIB")),
    Organ.HEAD_AND_NECK: (("I", "II", "III", "IVA"), ("III", "III", "III", "IVA"), ("IVA", "IVA", "IVA", "IVA")),
}
_NUMBERS: Final = {"I": 1, "II": 2, "III": 3, "IV": 4}


def stage_group(organ: Organ, tnm: str) -> str:
    """The stage group, such as "IIB", of a tumour.

    Args:
        organ: Organ of the primary.
        tnm: Such as "T2 N1 M0".

    Raises:
        UsageError: `tnm` isn't of that form.
    """
    match = _TNM.fullmatch(tnm)
    if match is None:
        raise UsageError(f"{tnm!r} is no TNM that the simulator knows. Write it as 'T2 N1 M0' (T1-4, N0-2, M0-1).")
    size, nodes, distant = (int(group) for group in match.groups())
    return "IV" if distant else _GROUPS[organ][nodes][size - 1]


def stage_number(group: str) -> int:
    """1 to 4 for a stage group ("IIB" is 2).

    Raises:
        UsageError: `group` is no stage group.
    """
    number = _NUMBERS.get(group.rstrip("ABC"))
    if number is None:
        raise UsageError(f"{group!r} is no stage group. Write I to IV, with A, B or C where the organ has them.")
    return number
