"""The small H&E tower: a residual convolutional encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import HeConfig
from .heads import ProjectionHead, unit
from .resize import Resize


class Residual(nn.Module):
    """Two 3×3 convolutions with a shortcut, batch-normalised: relu(x + f(x))."""

    def __init__(self, width: int) -> None:
        """Keep `width` channels and the side."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (n, width, h, w) to the same shape."""
        return torch.relu(image + self.body(image))


def _halve(source: int, target: int) -> nn.Sequential:
    """Halve the side and change the channels."""
    return nn.Sequential(
        nn.Conv2d(source, target, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(target), nn.ReLU()
    )


class HeTower(nn.Module):
    """H&E tiles to unit vectors: bicubic resize, scaling to −1…1, encoder, pooling, head, L2.

    The pool takes mean and maximum over the positions: how much of a structure there is, and whether there is any.
    """

    def __init__(self, config: HeConfig, dimension: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.resize = Resize(config.tile, config.side)
        stages: list[nn.Module] = [_halve(3, config.widths[0])]
        for source, target, blocks in zip(config.widths[:-1], config.widths[1:], config.blocks, strict=True):
            stages += [_halve(source, target), *(Residual(target) for _ in range(blocks))]
        self.encoder = nn.Sequential(*stages)
        self.head = ProjectionHead(2 * config.widths[-1], dimension)

    def forward(self, tiles: Tensor) -> Tensor:
        """Embed (n, tile, tile, 3) uint8 tiles as (n, dimension) unit vectors."""
        return unit(self.embed(self.resize(tiles.to(torch.float32))))

    def embed(self, resized: Tensor) -> Tensor:
        """Embed (n, 3, side, side) float32 images of 0…255 as (n, dimension) vectors, not normalised."""
        features = self.encoder(resized / 127.5 - 1.0)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        projected: Tensor = self.head(pooled)
        return projected
