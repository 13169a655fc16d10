"""Antialiased resizing as two matrix products: exact, and the same on every engine."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Interpolation = Literal["bicubic", "bilinear"]

KEYS_A = -0.5
"""Keys' cubic coefficient; Pillow and torch's antialiased resize use it, OpenCV and ONNX default to −0.75."""


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel (Keys 1981) with a = −0.5."""
    x = np.abs(distance)
    near = (KEYS_A + 2) * x**3 - (KEYS_A + 3) * x**2 + 1
    far = KEYS_A * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation's kernel."""
    return np.maximum(1.0 - np.abs(distance), 0.0)


def resize_matrix(source: int, target: int, interpolation: Interpolation = "bicubic") -> NDArray[np.float32]:
    """Weights of an antialiased resize along one axis.

    When shrinking, the kernel is widened by the factor (antialiasing); at the edges the weights that fall outside
    are dropped and the rest scaled to sum to 1, as Pillow and torch do.

    Args:
        source: Pixels before.
        target: Pixels after.
        interpolation: The kernel.

    Returns:
        (target, source) float32, rows sum to 1.
    """
    factor = source / target
    widen = max(factor, 1.0)
    centres = (np.arange(target) + 0.5) * factor
    distances = (np.arange(source)[None, :] + 0.5 - centres[:, None]) / widen
    weights = _cubic(distances) if interpolation == "bicubic" else _triangle(distances)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


class Resize(nn.Module):
    """Resize square images from `source` to `target` pixels a side."""

    weights: Tensor

    def __init__(
        self, source: int, target: int, interpolation: Interpolation = "bicubic", scaled: int | None = None
    ) -> None:
        """Hold the weights of one axis; both axes use the same.

        Args:
            source: Side before.
            target: Side after.
            interpolation: The kernel.
            scaled: Side to which the whole image is resized, of which the middle `target` pixels are kept.
        """
        super().__init__()
        whole = target if scaled is None else scaled
        if whole < target:
            raise ValueError(f"The middle {target} pixels can't be kept of {whole}.")
        self.source = source
        self.target = target
        self.changes = source != whole or whole != target
        first = round((whole - target) / 2)
        weights = resize_matrix(source, whole, interpolation)[first : first + target]
        self.register_buffer("weights", torch.from_numpy(weights.copy()), persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        """Resize and put channels first.

        Args:
            tiles: (n, source, source, 3) float32.

        Returns:
            (n, 3, target, target) float32; may overshoot the range of the input a little.
        """
        if not self.changes:
            return tiles.permute(0, 3, 1, 2)
        rows = torch.matmul(self.weights, tiles.reshape(tiles.shape[0], self.source, self.source * 3))
        rows = rows.reshape(tiles.shape[0], self.target, self.source, 3).permute(0, 3, 1, 2)
        return torch.matmul(rows, self.weights.t())
