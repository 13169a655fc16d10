"""Names compared by their letters and digits."""

from __future__ import annotations

import re
import unicodedata

_BETWEEN_DIGITS = re.compile(r"(?<=\d)[^\w]+(?=\d)|(?<=\d)_+(?=\d)")
_SEPARATORS = re.compile(r"[\W_]+")
_KEPT = "\x00"


def compact(name: str) -> str:
    """A name without case and separators; one between two digits is kept, so that 9.5 is not 95.

    >>> compact("PD-L1") == compact("pdl1"), compact("F4/80") == compact("F4_80"), compact("CD16.3") == compact("CD163")
    (True, True, False)
    """
    text = unicodedata.normalize("NFKC", name).strip().casefold()
    text = _BETWEEN_DIGITS.sub(_KEPT, text)
    parts = [_SEPARATORS.sub("", part) for part in text.split(_KEPT)]
    return "_".join(parts)
