"""Which rows of a mIF tower's marker table the channels of patches are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import PanelError

from .vocabulary import canonical_panel


class PanelRows:
    """Which rows of the marker table a patch's channels are.

    Attributes:
        remarks: What was left out, in sentences.
    """

    def __init__(self, known: Sequence[str], drop_unknown: bool) -> None:
        """Take the names of the table's rows, from row 1 on, and whether unknown markers are dropped or refused."""
        self._known = tuple(known)
        self._drop = drop_unknown
        self._found: dict[tuple[str, ...], tuple[tuple[str, ...], NDArray[np.intp]]] = {}
        self.remarks: list[str] = []

    def all_of(self, markers: tuple[str, ...]) -> tuple[str, ...]:
        """The markers in the order of the marker table."""
        names, _ = self.of(markers)
        if self._drop and len(names) < len(markers):
            left_out = [marker for marker in markers if marker not in names]
            self.remarks.append(f"Left out, since the mIF tower does not know them: {', '.join(left_out)}.")
        return tuple(sorted(names, key=self._known.index))

    def of(self, markers: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Known names of a patch's channels, and which channels they are."""
        if markers not in self._found:
            self._found[markers] = self._find(markers)
        return self._found[markers]

    def table_rows(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Rows of the marker table; row 0 stands for no channel."""
        return np.array([self._known.index(name) + 1 for name in names], np.int64)

    def _find(self, markers: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        kept = list(range(len(markers)))
        if self._drop:
            kept = [row for row in kept if self._knows(markers[row])]
            if not kept:
                raise PanelError(f"The mIF tower knows none of the markers {', '.join(markers)}.")
        panel = canonical_panel([markers[row] for row in kept], self._known)
        return panel.names, np.array(kept, np.intp)[list(panel.rows)]

    def _knows(self, marker: str) -> bool:
        try:
            canonical_panel((marker,), self._known)
        except PanelError:
            return False
        return True
