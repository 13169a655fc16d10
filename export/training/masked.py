"""The mIF encoder's own training: a masked autoencoder (VirTues, as Haiku, 2605.00925, configures it).

Of every channel a share of the squares is replaced by one learned token; the encoder reads the rest, and a decoder that
is thrown away afterwards has to tell the pixels of every square. What the published configuration leaves open (where
the masked token comes in, what a decoder block attends to) is decided in docs/adr/0015.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..model import MifConfig
from ..model.virtues import VirtuesBlock, VirtuesEncoder


@dataclass(frozen=True, slots=True)
class Masking:
    """How much is hidden. Published values.

    Attributes:
        least: Least share of a channel's squares that is masked.
        most: Largest share; each channel of each patch draws its own.
        least_channels: Least share of a patch's channels that are looked at; each patch draws its own, up to all.
    """

    least: float = 0.6
    most: float = 1.0
    least_channels: float = 0.75


class FullBlock(nn.Module):
    """A decoder block "f": every token attends to every other, of all channels and positions."""

    def __init__(self, config: MifConfig) -> None:
        """Build with random weights, of the encoder's sizes."""
        super().__init__()
        self.block = VirtuesBlock(config.width, config.hidden, config.heads, None)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Map (n, c, positions, width); `bias` (n, 1, 1, c * positions) hides the tokens of padded channels."""
        rows, channels, positions, width = tokens.shape
        mixed: Tensor = self.block(tokens.reshape(rows, channels * positions, width), bias)
        return mixed.reshape(rows, channels, positions, width)


class MaskedAutoencoder(nn.Module):
    """The mIF encoder, the masked token, the decoder."""

    def __init__(self, config: MifConfig, decoder: str = "ff") -> None:
        """Build with random weights.

        Args:
            config: Sizes of the mIF tower.
            decoder: One letter a decoder block; only f is known.
        """
        super().__init__()
        if set(decoder) - {"f"}:
            raise ValueError(f"The decoder's pattern is {decoder!r}; blocks are f.")
        self.config = config
        self.encoder = VirtuesEncoder(config)
        self.masked_token = nn.Parameter(torch.randn(config.width) * 0.02)
        positions = self.encoder.grid**2
        self.places = nn.Parameter(torch.randn(positions, config.width) * 0.02)
        self.names = nn.Linear(config.width, config.width)
        self.decoder = nn.ModuleList(FullBlock(config) for _ in decoder)
        self.pixels = nn.Linear(config.width, config.token**2)

    def forward(self, prepared: Tensor, markers: Tensor, masked: Tensor) -> Tensor:
        """Mean squared error of the told pixels, over every square of every channel that is there.

        Args:
            prepared: (n, c, s, s) float32 standardised channels.
            markers: (n, c) int64 rows of the marker table, 0 for no channel.
            masked: (n, c, positions) bool, True where the encoder may not look.

        Returns:
            Scalar.
        """
        told = self.reconstruct(prepared, markers, masked)
        error = (told.float() - self.encoder.squares(prepared)) ** 2
        there = (markers > 0).to(error.dtype)[:, :, None, None]
        return torch.sum(error * there) / torch.clamp(torch.sum(there) * error.shape[2] * error.shape[3], min=1.0)

    def reconstruct(self, prepared: Tensor, markers: Tensor, masked: Tensor) -> Tensor:
        """The pixels that the decoder tells: (n, c, positions, token²)."""
        tokens = self.encode(prepared, markers, masked)
        names = self.names(self.encoder.marker_table(markers))[:, :, None, :]
        tokens = torch.cat([tokens[:, :1], tokens[:, 1:] + names], dim=1) + self.places
        there = torch.cat([torch.ones_like(markers[:, :1]), (markers > 0).to(markers.dtype)], dim=1)
        bias = (there.repeat_interleave(tokens.shape[2], dim=1).float() - 1.0)[:, None, None, :] * 1e4
        for block in self.decoder:
            tokens = block(tokens, bias)
        told: Tensor = self.pixels(tokens[:, 1:])
        return told

    def encode(self, prepared: Tensor, markers: Tensor, masked: Tensor) -> Tensor:
        """Every token after the encoder, (n, 1 + c, positions, width); what is masked leaves no trace in them."""
        tokens = self.encoder.tokens(prepared, markers)
        hidden = self.masked_token + self.encoder.marker_table(markers)[:, :, None, :]
        channels = torch.where(masked[..., None], hidden.expand_as(tokens[:, 1:]), tokens[:, 1:])
        return self.encoder.run_blocks(torch.cat([tokens[:, :1], channels], dim=1), markers)


def draw_mask(markers: Tensor, positions: int, masking: Masking, generator: torch.Generator) -> Tensor:
    """Draw what is masked: each channel its own share, each square by its own rank.

    Args:
        markers: (n, c) int64, 0 for no channel.
        positions: Squares of a channel.
        masking: How much.
        generator: Where chance comes from.

    Returns:
        (n, c, positions) bool.
    """
    rows, channels = markers.shape
    share = masking.least + (masking.most - masking.least) * torch.rand((rows, channels, 1), generator=generator)
    rank = torch.rand((rows, channels, positions), generator=generator).argsort(dim=2).argsort(dim=2)
    return rank < torch.round(share * positions)
