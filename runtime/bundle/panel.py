"""From the names of a panel's channels to rows of the mIF tower's marker table."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import PanelError

_NEAREST = 3
_SIGNS = str.maketrans("", "", " -_./")


def panel_rows(names: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the marker table, one a channel; row i + 1 is `known[i]`, and row 0, no channel, is never given.

    A name is known as it stands, or where it differs from exactly one known name in nothing but capitals, spaces and
    the signs - _ . / (PD-L1 is PDL1). The tower would take any other name for a marker without identity, and say
    nothing.

    Args:
        names: Names of the channels, in their order.
        known: `MifTower.markers` of the bundle.

    Raises:
        PanelError: A name is unknown, two channels are the same marker, or there is none.
    """
    if not names:
        raise PanelError("The panel names no marker. Name one a channel, in their order.")
    rows = [_row(name, known) for name in names]
    unknown = [name for name, row in zip(names, rows, strict=True) if row is None]
    if unknown:
        raise PanelError(
            f"The bundle's mIF tower does not know {', '.join(_with_nearest(name, known) for name in unknown)}. "
            "Leave these channels out, or name them as the bundle does (`haiku-edge bundle info`)."
        )
    found = [row for row in rows if row is not None]
    twice = sorted({known[row - 1] for row in found if found.count(row) > 1})
    if twice:
        raise PanelError(f"The panel names {', '.join(twice)} twice. A marker has one channel.")
    return np.array(found, np.int64)


def _row(name: str, known: Sequence[str]) -> int | None:
    if name in known:
        return list(known).index(name) + 1
    alike = [row for row, other in enumerate(known, start=1) if _compact(other) == _compact(name)]
    return alike[0] if len(alike) == 1 else None


def _compact(name: str) -> str:
    return name.translate(_SIGNS).casefold()


def _with_nearest(name: str, known: Sequence[str]) -> str:
    """The name, printable, with the known names that it resembles most."""
    shown = ascii(name)[1:-1][:60]
    spelt = {_compact(other): other for other in known}
    nearest = difflib.get_close_matches(_compact(name), spelt, n=_NEAREST, cutoff=0.5)
    return f"{shown} (nearest: {', '.join(spelt[other] for other in nearest)})" if nearest else shown
