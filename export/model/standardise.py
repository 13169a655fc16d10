"""What makes mIF channels comparable before they are cut into tokens."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BLUR_SIGMA = 1.0
"""Standard deviation, in pixels, of the 3×3 Gaussian that smooths a standardised channel."""


def smoothing_matrix(side: int, pool: int) -> NDArray[np.float32]:
    """Blur and average down along one axis, as one matrix.

    The blur is the 3-tap Gaussian with reflected borders; its outer product is the 3×3 kernel of the paper. Averaging
    takes `pool` pixels at a time. Rows sum to 1.

    Args:
        side: Pixels before, a multiple of `pool`.
        pool: Pixels averaged into one.

    Returns:
        (side / pool, side) float32.
    """
    taps = np.exp(-0.5 * (np.array([-1.0, 0.0, 1.0]) / BLUR_SIGMA) ** 2)
    taps /= taps.sum()
    blur = np.zeros((side, side))
    for shift, weight in zip((-1, 0, 1), taps, strict=True):
        source = np.abs(np.arange(side) + shift)
        source = np.where(source >= side, 2 * side - 2 - source, source)
        np.add.at(blur, (np.arange(side), source), weight)
    return np.asarray(blur.reshape(side // pool, pool, side).mean(axis=1), dtype=np.float32)


class Standardise(nn.Module):
    """Make channels comparable: subtract the mean, divide by the standard deviation, blur, average down.

    The deviation is the unbiased one (N − 1); a constant channel becomes zeros. Blur and average are linear and keep
    constants, so they may come before the division by the deviation of the full patch: the same numbers from a
    fraction of the arithmetic.
    """

    smoothing: Tensor

    def __init__(self, side: int, pool: int) -> None:
        """Take patches of `side` pixels and average squares of `pool` × `pool` of them."""
        super().__init__()
        self.register_buffer("smoothing", torch.from_numpy(smoothing_matrix(side, pool)), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Map (n, c, s, s) of any type to (n, c, s/pool, s/pool) float32."""
        values = patches.to(torch.float32)
        pixels = patches.shape[-1] * patches.shape[-2]
        mean = torch.mean(values, dim=(2, 3), keepdim=True)
        centred = values - mean
        variance = torch.sum(centred * centred, dim=(2, 3), keepdim=True) / (pixels - 1)
        smooth = torch.matmul(torch.matmul(self.smoothing, centred), self.smoothing.t())
        flat = variance <= 0.0
        return torch.where(flat, torch.zeros_like(smooth), smooth / torch.sqrt(torch.where(flat, 1.0, variance)))
