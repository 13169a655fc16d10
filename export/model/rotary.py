"""Rotary position embedding over the two axes of a grid."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BASE = 10_000.0
"""Base of the frequencies (VirTues; RoFormer, 2104.09864)."""


def axis_angles(length: int, size: int) -> NDArray[np.float64]:
    """Angles of one axis: position times frequency, (length, size / 2), frequency j = BASE^(−2j / size)."""
    frequencies = BASE ** (-2.0 * np.arange(size // 2) / size)
    return np.arange(length)[:, None] * frequencies[None]


class Rotary(nn.Module):
    """Turns queries and keys by their row (first half of a head) and their column (second half).

    Each half is turned in the "rotate half" form: x·cos + rot(x)·sin with rot([a, b]) = [−b, a].
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, grid: int, size: int) -> None:
        """Hold the tables of a `grid` × `grid` of positions, row by row, for heads of `size`."""
        super().__init__()
        if size % 4:
            raise ValueError(f"A head of {size} can't be cut into two axes of two halves.")
        self.quarter = size // 4
        angles = axis_angles(grid, size // 2)
        rows, columns = np.repeat(angles, grid, axis=0), np.tile(angles, (grid, 1))
        table = np.concatenate([rows, rows, columns, columns], axis=1)
        self.register_buffer("cosines", torch.from_numpy(np.cos(table).astype(np.float32)), persistent=False)
        self.register_buffer("sines", torch.from_numpy(np.sin(table).astype(np.float32)), persistent=False)

    def forward(self, heads: Tensor) -> Tensor:
        """Turn (n, heads, grid², size); the shape stays."""
        first, second, third, fourth = torch.split(heads, self.quarter, dim=-1)
        turned = torch.cat([-second, first, -fourth, third], dim=-1)
        return heads * self.cosines + turned * self.sines
