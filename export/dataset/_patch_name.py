"""Names of published patches: `{region}_{x1}-{x2}-{y1}-{y2}`, in pixels of the region (Haiku, 2605.00925, code)."""

from __future__ import annotations

import re

_NAME = re.compile(r"(?P<region>.+)_(?P<x>\d+)-\d+-(?P<y>\d+)-\d+")


def region_in_name(name: str) -> str | None:
    """The region that a patch's name states, or None where it states none."""
    found = _NAME.fullmatch(name)
    return found["region"] if found else None


def corner_in_name(name: str, mpp: float) -> tuple[float | None, float | None]:
    """Left and top edge in the region in micrometres, or None twice where the name does not state them."""
    found = _NAME.fullmatch(name)
    return (int(found["x"]) * mpp, int(found["y"]) * mpp) if found else (None, None)
