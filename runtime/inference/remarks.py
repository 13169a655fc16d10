"""What a reader must know of the evidence before trusting the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from .calibration import ABSTENTION_RATE, Calibration
from .conformal import least_patients
from .summarise import supported_share
from .tiles import TileResults

_STRANGE_SHARE: Final = 5 * ABSTENTION_RATE
"""Five times what ordinary tissue has: the slide as a whole is then unlike what the intervals were calibrated on."""

_MOST_NAMED: Final = 6
"""Markers or genes without an interval that are named one by one."""

_ITEMS: Final = {"protein": "patches", "gene": "spots"}


def evidence_remarks(
    atlas: Atlas,
    allowed: NDArray[np.bool_] | None,
    neighbours: int,
    tiles: TileResults,
    calibration: Calibration,
) -> list[str]:
    """Say where evidence is scarce, where the tissue is unlike it, and where patients are too few for intervals.

    Args:
        atlas: The evidence.
        allowed: (n,) which items of it may be found, or None for all.
        neighbours: Items asked for behind each tile.
        tiles: What became of the tiles.
        calibration: Of this way of predicting.
    """
    remarks, items = [], _ITEMS[atlas.measure]
    there = len(atlas.patients) if allowed is None else int(allowed.sum())
    if there < neighbours:
        remarks.append(f"Only {there} {items} may be evidence; {neighbours} neighbours were asked for.")
    share = supported_share(tiles)
    if share < 1 - _STRANGE_SHARE:
        usual, middle = 100 * ABSTENTION_RATE, float(np.nanmedian(tiles.percentile))
        numbers = "intervals" if np.isfinite(calibration.slide_half_width).any() else "estimates"
        where = "the atlas" if atlas.measure == "protein" else "the atlas of spots"
        remarks.append(
            f"{100 * (1 - share):.0f} % of the tissue resembles nothing in {where} (at most {usual:.0f} % is usual), "
            f"and the tiles' median percentile is {middle:.0f} (50 is usual): {numbers} need not hold on this slide."
        )
    told = np.flatnonzero(np.isfinite(tiles.expression.value).any(axis=0)).tolist()
    return remarks + _of_intervals(atlas, told, calibration)


def _of_intervals(atlas: Atlas, told: Sequence[int], calibration: Calibration) -> list[str]:
    """At most one remark: why no estimate has an interval, or which have none; `told` are the markers with a value."""
    kind = "marker" if atlas.measure == "protein" else "gene"
    least, patients = least_patients(calibration.coverage), calibration.patients
    if not patients:
        of = "this run" if kind == "marker" else "the genes"
        missing = "estimates have no intervals, and no tile abstains, however strange it is"
        return [f"No patient calibrates {of}: {missing}."]
    if patients < least:
        return [_few_patients(kind, patients, least, calibration.coverage)]
    bare = [atlas.markers[m] for m in told if not np.isfinite(calibration.slide_half_width[m])]
    if not bare:
        return []
    who = f"No {kind} has an interval" if len(bare) == len(told) else f"No interval for {_some(bare)}"
    return [f"{who}: fewer than {least} calibration patients measured {'it' if len(bare) == 1 else 'each'}."]


def _few_patients(kind: str, patients: int, least: int, coverage: float) -> str:
    few = "1 calibration patient is" if patients == 1 else f"{patients} calibration patients are"
    them = "that patient" if patients == 1 else f"those {patients}"
    return (
        f"No {kind} has an interval: {few} too few for one of {100 * coverage:.0f} % (at least {least} are needed); "
        f"which tiles abstain, and every percentile, rest on {them} alone."
    )


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many others there are."""
    named = names if len(names) <= _MOST_NAMED else names[: _MOST_NAMED - 1]
    return ", ".join(named) + (f" and {len(names) - len(named)} others" if len(named) < len(names) else "")
