"""How numbers are written in the report: two decimals, a true minus sign, thousands apart."""

from __future__ import annotations

MISSING = "–"
MINUS = "\N{MINUS SIGN}"
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"


def plain(value: float | None) -> str:
    """Two decimals, such as '41.37' or '−0.05'; a dash for nothing."""
    if value is None:
        return MISSING
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", MINUS)


def signed(value: float | None) -> str:
    """Like `plain` with a plus sign before what is above zero: for z, whose sign says which side of average."""
    text = plain(value)
    return text if text[0] in f"{MINUS}{MISSING}" or text == "0.00" else f"+{text}"


def count(value: int) -> str:
    """A whole number with thousands apart, such as '12 480'."""
    return f"{value:,}".replace(",", THIN_SPACE).replace("-", MINUS)


def percent(share: float | None) -> str:
    """A share from 0 to 1 in whole per cent, such as '90 %'."""
    return MISSING if share is None else f"{100 * share:.0f}{THIN_SPACE}%"


def points(share: float | None) -> str:
    """A share as percentage points with a sign, such as '+2.31'."""
    return signed(None if share is None else 100 * share)


def tenth(value: float | None) -> str:
    """One decimal, such as '41.4': for intensities, whose second decimal nothing supports."""
    return MISSING if value is None else f"{value:.1f}"


def percentile(value: float | None) -> str:
    """A percentile in whole numbers, such as '14'; below one, '<1'; a dash for nothing."""
    if value is None:
        return MISSING
    return "<1" if 0 < value < 1 else f"{value:.0f}"


def chance(p: float | None) -> str:
    """A p or q: three decimals, '<0.001' below."""
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def anything(value: object) -> str:
    """A parameter or metric of unknown kind: floats with two to six decimals, never rounded to zero."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: MISSING}[value]
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return plain(value) if round(value, 2) == value else f"{value:.6g}".replace("-", MINUS)
    if isinstance(value, (list, tuple)):
        return ", ".join(anything(item) for item in value) or MISSING
    return str(value)
