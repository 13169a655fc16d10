"""The mIF tower: Haiku's fork of VirTues, which takes any panel, at any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention, key_bias
from .config import MifConfig
from .heads import ProjectionHead, unit
from .rotary import Rotary
from .standardise import Standardise


class VirtuesBlock(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + feed-forward(norm(x)) with the exact GELU."""

    def __init__(self, width: int, hidden: int, heads: int, rotary: Rotary | None) -> None:
        """Build the block; see `Attention` for the sizes."""
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads, rotary=rotary)
        self.norm_feed = nn.LayerNorm(width)
        self.rise = nn.Linear(width, hidden)
        self.fall = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, bias: Tensor | None = None, *, first_only: bool = False) -> Tensor:
        """Map (n, l, width) to the same shape, or to (n, 1, width) where only the first token is wanted."""
        normed = self.norm_attention(tokens)
        asking = normed[:, :1] if first_only else None
        kept = tokens[:, :1] if first_only else tokens
        kept = kept + self.attention(normed, bias, asking)
        fed: Tensor = kept + self.fall(F.gelu(self.rise(self.norm_feed(kept))))
        return fed


class MarkerTable(nn.Module):
    """A marker's identity as a vector: a row of the table (an ESM vector, or a learned one) through one Linear."""

    def __init__(self, markers: int, marker_width: int, width: int) -> None:
        """Build with random rows; row i of `vectors` belongs to marker number i + 1."""
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(markers, marker_width))
        self.projection = nn.Linear(marker_width, width)

    def forward(self, markers: Tensor) -> Tensor:
        """Look up (n, c) int64 marker numbers, 0 for no channel: (n, c, width)."""
        none = torch.zeros_like(self.vectors[:1])
        rows: Tensor = self.projection(F.embedding(markers, torch.cat([none, self.vectors])))
        return rows

    @torch.no_grad()
    def folded(self) -> nn.Embedding:
        """The same table with the Linear applied: (1 + markers, width)."""
        numbers = torch.arange(len(self.vectors) + 1)
        rows: Tensor = self(numbers[None])[0]
        return nn.Embedding(rows.shape[0], rows.shape[1], _weight=rows, _freeze=True)


class VirtuesEncoder(nn.Module):
    """mIF channels to one vector.

    A token is a square of one channel; its marker's vector is added. A summary channel of one learned token, repeated
    at every place, goes before the measured ones. Blocks alternate: h attends within a channel, where the place counts
    by rotation; v attends across the channels of one position, where padded channels (marker 0) are masked as keys.
    Nothing else needs the mask, because only the summary channel is read at the end. Hence the vector depends neither
    on the order of the channels nor on padding. (The published v blocks rotate too; query and key share the place, so
    that it cancels.)
    """

    def __init__(self, config: MifConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.grid = config.patch // config.pool // config.token
        rotary = Rotary(self.grid, config.width // config.heads)
        self.pixels = nn.Linear(config.token * config.token, config.width)
        self.marker_table: nn.Module = MarkerTable(config.markers, config.marker_width, config.width)
        self.summary = nn.Parameter(torch.randn(config.width) * 0.02)
        self.blocks = nn.ModuleList(
            VirtuesBlock(config.width, config.hidden, config.heads, rotary if letter == "h" else None)
            for letter in config.blocks
        )

    def forward(self, prepared: Tensor, markers: Tensor) -> Tensor:
        """Encode (n, c, s, s) standardised channels with their (n, c) marker numbers as (n, width)."""
        *before, last = range(len(self.blocks))
        tokens = self.run_blocks(self.tokens(prepared, markers), markers, before)
        # Only the summary channel is read: the last block need not compute the others.
        if self.config.blocks[last] == "h":
            return torch.mean(self.blocks[last](tokens[:, 0]), dim=1)
        return torch.mean(_across(self.blocks[last], tokens, _channel_bias(markers), first_only=True)[:, 0], dim=1)

    def run_blocks(self, tokens: Tensor, markers: Tensor, numbers: Sequence[int] | None = None) -> Tensor:
        """Put (n, 1 + c, positions, width) tokens through the blocks of these numbers; through all without."""
        bias = _channel_bias(markers)
        for number in range(len(self.blocks)) if numbers is None else numbers:
            block, letter = self.blocks[number], self.config.blocks[number]
            tokens = _within(block, tokens) if letter == "h" else _across(block, tokens, bias)
        return tokens

    def squares(self, prepared: Tensor) -> Tensor:
        """Cut (n, c, s, s) into (n, c, positions, token²) squares, row by row."""
        rows, channels, grid, token = prepared.shape[0], prepared.shape[1], self.grid, self.config.token
        cut = prepared.reshape(rows, channels, grid, token, grid, token).permute(0, 1, 2, 4, 3, 5)
        return cut.reshape(rows, channels, grid * grid, token * token)

    def tokens(self, prepared: Tensor, markers: Tensor) -> Tensor:
        """Cut channels into (n, 1 + c, positions, width) tokens, the summary channel first."""
        cells = self.pixels(self.squares(prepared)) + self.marker_table(markers)[:, :, None, :]
        summary = self.summary.expand(cells.shape[0], 1, cells.shape[2], cells.shape[3])
        return torch.cat([summary, cells], dim=1)


class MifTower(nn.Module):
    """mIF patches with any panel to unit vectors of the shared space: standardise, encode, head, L2."""

    def __init__(self, config: MifConfig, dimension: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.standardise = Standardise(config.patch, config.pool)
        self.encoder = VirtuesEncoder(config)
        self.head = ProjectionHead(config.width, dimension)

    def forward(self, patches: Tensor, markers: Tensor) -> Tensor:
        """Embed patches.

        Args:
            patches: (n, c, patch, patch) uint8.
            markers: (n, c) int64, rows of the marker table; 0 where there is no channel.

        Returns:
            (n, dimension) unit vectors.
        """
        return unit(self.embed(self.standardise(patches), markers))

    def encode(self, prepared: Tensor, markers: Tensor) -> Tensor:
        """Encode (n, c, s, s) float32 channels, already standardised, as (n, width) vectors, before the head."""
        encoded: Tensor = self.encoder(prepared, markers)
        return encoded

    def embed(self, prepared: Tensor, markers: Tensor) -> Tensor:
        """Embed (n, c, s, s) float32 channels, already standardised, as (n, dimension) vectors, not normalised."""
        projected: Tensor = self.head(self.encode(prepared, markers))
        return projected


def _channel_bias(markers: Tensor) -> Tensor:
    """Scores to add across channels, (n, 1, 1, 1 + c): the summary channel always counts."""
    keep = torch.cat([torch.ones_like(markers[:, :1]), (markers > 0).to(markers.dtype)], dim=1)
    return key_bias(keep)


def _within(block: nn.Module, tokens: Tensor) -> Tensor:
    """Attend among the positions of each channel."""
    rows, channels, positions, width = tokens.shape
    mixed: Tensor = block(tokens.reshape(rows * channels, positions, width))
    return mixed.reshape(rows, channels, positions, width)


def _across(block: nn.Module, tokens: Tensor, bias: Tensor, *, first_only: bool = False) -> Tensor:
    """Attend among the channels of each position; with `first_only` the summary channel alone comes back."""
    rows, channels, positions, width = tokens.shape
    columns = tokens.permute(0, 2, 1, 3).reshape(rows * positions, channels, width)
    every = bias.expand(rows, positions, 1, channels).reshape(rows * positions, 1, 1, channels)
    mixed: Tensor = block(columns, every, first_only=first_only)
    return mixed.reshape(rows, positions, -1, width).permute(0, 2, 1, 3)
