"""The mIF tower: a small VirTues-style encoder that takes any panel.

Source of the recipe: Haiku, 2605.00925, mIF tower (a fork of VirTues' encoder), at small size.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .config import MifConfig
from .heads import Block, ProjectionHead, key_bias, unit

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


class MifTower(nn.Module):
    """mIF patches with any panel to unit vectors.

    A token is a square of one channel; it gets its marker's row of the table and its place in the grid. A summary
    channel of learned tokens goes before the measured ones. Blocks alternate: h attends within a channel, v across the
    channels of one position, where padded channels (marker 0) are masked as keys; nothing else needs the mask, because
    only the summary channel is read at the end. Hence the vector depends neither on
    the order of the channels nor on padding.
    """

    def __init__(self, config: MifConfig, dimension: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.grid = config.patch // config.pool // config.token
        positions = self.grid * self.grid
        self.standardise = Standardise(config.patch, config.pool)
        self.pixels = nn.Linear(config.token * config.token, config.width)
        self.marker_table = nn.Embedding(config.markers + 1, config.width)
        self.places = nn.Parameter(torch.randn(positions, config.width) * 0.02)
        self.summary = nn.Parameter(torch.randn(config.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config.width, config.hidden, config.heads) for _ in config.blocks)
        self.head = ProjectionHead(config.width, dimension)
        nn.init.normal_(self.marker_table.weight, std=0.5)

    def forward(self, patches: Tensor, markers: Tensor) -> Tensor:
        """Embed patches.

        Args:
            patches: (n, c, patch, patch) uint8.
            markers: (n, c) int64, rows of the marker table; 0 where there is no channel.

        Returns:
            (n, dimension) unit vectors.
        """
        return unit(self.embed(self.standardise(patches), markers))

    def embed(self, prepared: Tensor, markers: Tensor) -> Tensor:
        """Embed (n, c, s, s) float32 channels, already standardised, as (n, dimension) vectors, not normalised."""
        tokens = self._tokens(prepared, markers)
        bias = self._channel_bias(markers)
        for letter, block in zip(self.config.blocks, self.blocks, strict=True):
            tokens = self._within(block, tokens) if letter == "h" else self._across(block, tokens, bias)
        projected: Tensor = self.head(tokens[:, 0].mean(dim=1))
        return projected

    def _tokens(self, prepared: Tensor, markers: Tensor) -> Tensor:
        """Cut channels into (n, 1 + c, positions, width) tokens, the summary channel first."""
        rows, channels = markers.shape
        grid, token = self.grid, self.config.token
        squares = prepared.reshape(rows, channels, grid, token, grid, token).permute(0, 1, 2, 4, 3, 5)
        cells = self.pixels(squares.reshape(rows, channels, grid * grid, token * token))
        cells = cells + self.marker_table(markers)[:, :, None, :]
        summary = self.summary.expand(rows, 1, grid * grid, self.config.width)
        return torch.cat([summary, cells], dim=1) + self.places

    @staticmethod
    def _channel_bias(markers: Tensor) -> Tensor:
        """Scores to add across channels, (n, 1, 1, 1 + c): the summary channel always counts."""
        keep = torch.cat([torch.ones_like(markers[:, :1]), (markers > 0).to(markers.dtype)], dim=1)
        return key_bias(keep)

    def _within(self, block: nn.Module, tokens: Tensor) -> Tensor:
        """Attend among the positions of each channel."""
        rows, channels, positions, width = tokens.shape
        mixed: Tensor = block(tokens.reshape(rows * channels, positions, width))
        return mixed.reshape(rows, channels, positions, width)

    def _across(self, block: nn.Module, tokens: Tensor, bias: Tensor) -> Tensor:
        """Attend among the channels of each position."""
        rows, channels, positions, width = tokens.shape
        columns = tokens.permute(0, 2, 1, 3).reshape(rows * positions, channels, width)
        every = bias.expand(rows, positions, 1, channels).reshape(rows * positions, 1, 1, channels)
        mixed: Tensor = block(columns, every)
        return mixed.reshape(rows, positions, channels, width).permute(0, 2, 1, 3)
