"""What may differ between two looks at the same tissue: its orientation, its stain and scanner, the panel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ORIENTATIONS = 8
"""Rotations by quarter turns, plain and mirrored."""

STAIN_MIX = 0.04
"""Standard deviation of what leaks between the optical densities of red, green and blue."""

STAIN_SCALE = 0.18
"""Largest relative change of each colour's optical density: strong and pale stains."""

STAIN_SHIFT = 0.05
"""Largest added optical density: a scanner's white that isn't white."""

BACKGROUND = 255.0
"""Intensity of unstained glass."""


def orient(images: Tensor, turns: NDArray[np.int64]) -> Tensor:
    """Turn and mirror each image in its own way.

    Args:
        images: (n, c, s, s).
        turns: (n,) 0…7: quarter turns, plus 4 where mirrored first. The same number gives the same change in every
            modality, so that pairs stay registered.

    Returns:
        (n, c, s, s) of the same type.
    """
    out = torch.empty_like(images)
    for turn in range(ORIENTATIONS):
        chosen = torch.from_numpy(np.flatnonzero(turns == turn))
        part = images[chosen]
        part = part.flip(-1) if turn >= 4 else part
        out[chosen] = torch.rot90(part, turn % 4, dims=(-2, -1))
    return out


def jitter_stain(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Change stain and scanner: an affine map of the optical densities (Beer-Lambert), one for each image.

    Args:
        images: (n, 3, s, s) float32, 0…255.
        rng: Where chance comes from.

    Returns:
        (n, 3, s, s) float32, 0…255.
    """
    count = len(images)
    scale = 1 + rng.uniform(-STAIN_SCALE, STAIN_SCALE, (count, 1, 3))
    mix = (np.eye(3) + rng.normal(0, STAIN_MIX, (count, 3, 3))) * scale
    shift = rng.uniform(-STAIN_SHIFT, STAIN_SHIFT, (count, 3, 1))
    density = -torch.log(torch.clamp(images, min=1.0) / BACKGROUND).reshape(count, 3, -1)
    changed = torch.from_numpy(mix.astype(np.float32)) @ density + torch.from_numpy(shift.astype(np.float32))
    return torch.clamp(BACKGROUND * torch.exp(-changed), 0.0, 255.0).reshape(images.shape)


def choose_channels(measured: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a panel for each patch from the channels that it has.

    Args:
        measured: (n, m) whether the patch has the channel.
        count: Channels to draw; a patch with fewer gives all of its own.
        rng: Where chance comes from.

    Returns:
        (n, count) positions of channels, −1 where a patch has no more.
    """
    order = np.argsort(np.where(measured, rng.random(measured.shape), 2.0), axis=1)[:, :count]
    return np.where(np.take_along_axis(measured, order, axis=1), order, -1)
