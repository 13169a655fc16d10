"""What a reader must know of the evidence before trusting the numbers."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from .calibration import ABSTENTION_RATE, Calibration
from .summarise import supported_share
from .tiles import TileResults

_STRANGE_SHARE: Final = 5 * ABSTENTION_RATE
"""Five times what ordinary tissue has: the slide as a whole is then unlike what the intervals were calibrated on."""

_ITEMS: Final = {"protein": "patches", "gene": "spots"}


def evidence_remarks(
    atlas: Atlas,
    allowed: NDArray[np.bool_] | None,
    neighbours: int,
    tiles: TileResults,
    calibration: Calibration,
) -> list[str]:
    """Say where evidence is scarce, where the tissue is unlike it, and where nothing calibrates.

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
        where = "the atlas" if atlas.measure == "protein" else "the atlas of spots"
        remarks.append(
            f"{100 * (1 - share):.0f} % of the tissue resembles nothing in {where} (at most {usual:.0f} % is usual), "
            f"and the tiles' median percentile is {middle:.0f} (50 is usual): intervals need not hold on this slide."
        )
    if not calibration.patients:
        of = "this run" if atlas.measure == "protein" else "the genes"
        remarks.append(
            f"No patient calibrates {of}: estimates have no intervals, and no tile abstains, however strange it is."
        )
    return remarks
