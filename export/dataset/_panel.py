"""Marker names as the vocabulary has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import PanelError

from ..vocabulary import canonical_marker


@dataclass(frozen=True, slots=True)
class Panel:
    """The channels of an image that are markers.

    Attributes:
        markers: Names: the published one where the vocabulary knows it, else as given.
        rows: (c,) channel of the image of each; blank and background channels are left out.
    """

    markers: tuple[str, ...]
    rows: NDArray[np.intp]


def read_panel(names: Sequence[str], where: str) -> Panel:
    """Find the markers among an image's channels.

    Raises:
        PanelError: A marker is there twice, or none at all.
    """
    canonical = _canonical(names)
    kept = [(row, marker) for row, marker in enumerate(canonical) if marker]
    markers = tuple(marker for _, marker in kept)
    double = sorted({marker for marker in markers if markers.count(marker) > 1})
    if double:
        given = [name for name, marker in zip(names, canonical, strict=True) if marker == double[0]]
        raise PanelError(
            f"{where} has the marker {double[0]} more than once ({', '.join(given)}). Name the channels "
            "differently, or leave one out."
        )
    if not markers:
        raise PanelError(f"No channel of {where} is a marker.")
    return Panel(markers, np.array([row for row, _ in kept], np.intp))


def _canonical(names: Sequence[str]) -> list[str | None]:
    """Published names, own names where the vocabulary has none, None for a channel without a marker."""
    return [_known(name) for name in names]


def _known(name: str) -> str | None:
    try:
        return canonical_marker(name)
    except PanelError:
        return name.strip().replace(".", "_")
