"""From the names of a panel's channels to rows of the mIF tower's marker table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import PanelError
from ..vocabulary import canonical_markers


def panel_rows(names: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Rows of the marker table, one a channel; row i + 1 is `known[i]`, and row 0, no channel, is never given.

    Names mean what they mean to `vocabulary.canonical_markers`, so that a patch gets the rows here that it gets in an
    atlas. The tower would take any other name for a marker without identity, and say nothing.

    Args:
        names: Names of the channels, in their order.
        known: `MifTower.markers` of the bundle.

    Raises:
        PanelError: A name is unknown, ambiguous or of no marker, two channels are the same marker, or there is none.
    """
    if not names:
        raise PanelError("The panel names no marker. Name one a channel, in their order.")
    found = canonical_markers(names, known)
    blank = [ascii(name) for name, marker in zip(names, found, strict=True) if marker is None]
    if blank:
        raise PanelError(f"The panel has channels without a marker: {', '.join(blank)}. Leave these channels out.")
    return np.array([known.index(marker) + 1 for marker in found if marker is not None], np.int64)
