"""The channels of a patch as rows of the marker table, padded to one width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.runtime.errors import PanelError

EMPTY_SHARE = 0.98
"""Share of pixels at zero from which a channel counts as empty and is left out of the masked autoencoder's training
(Haiku, 2605.00925, configuration of the mIF stage)."""


def marker_rows(markers: Sequence[str], known: Sequence[str], where: str) -> NDArray[np.int64]:
    """Rows of the marker table: a marker's place in `known`, plus 1.

    Raises:
        PanelError: The model does not know a marker.
    """
    places = {name: number for number, name in enumerate(known, 1)}
    foreign = [name for name in markers if name not in places]
    if foreign:
        raise PanelError(
            f"{where} measured {', '.join(foreign[:5])}, which the model does not know. Rename the channel to a name "
            "of the model's vocabulary, leave it out, or give the model a vector for it before the training."
        )
    return np.array([places[name] for name in markers], np.int64)


def pad_channels(patches: Sequence[Tensor], rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Stack patches of different panels.

    Args:
        patches: (c, s, s) each.
        rows: (c,) each, rows of the marker table.

    Returns:
        (n, most, s, s), zeros where a patch has no more channels, and (n, most) int64, 0 there.
    """
    most = max(len(own) for own in rows)
    stacked = patches[0].new_zeros((len(patches), most, *patches[0].shape[1:]))
    markers = torch.zeros((len(patches), most), dtype=torch.int64)
    for i, (patch, own) in enumerate(zip(patches, rows, strict=True)):
        stacked[i, : len(own)] = patch
        markers[i, : len(own)] = torch.from_numpy(own)
    return stacked, markers


def filled_channels(mif: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Positions of the channels of (c, s, s) that are not empty; see `EMPTY_SHARE`."""
    return np.flatnonzero((mif == 0).mean(axis=(1, 2)) < EMPTY_SHARE)
