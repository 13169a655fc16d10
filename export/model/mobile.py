"""A small H&E tower of convolutions for processors: inverted residuals (MobileNetV2, 1801.04381), at any size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .heads import ProjectionHead, unit
from .musk import normalise


@dataclass(frozen=True, slots=True)
class MobileConfig:
    """Sizes of the tower.

    Attributes:
        tile: Side of an incoming tile in pixels.
        side: Side to which the graph averages it down; divides the tile's.
        stem: Channels of the first convolution, which halves the side.
        stages: Channels of the stages, each of which halves the side once more.
        depth: Blocks of a stage.
        expansion: Factor by which a block widens its channels.
        width: Length of the encoder's vector.
    """

    tile: int = 256
    side: int = 256
    stem: int = 32
    stages: tuple[int, ...] = (32, 64, 128, 192)
    depth: int = 3
    expansion: int = 4
    width: int = 768


class InvertedResidual(nn.Module):
    """Widen by 1×1, look around by a 3×3 of each channel alone, narrow by 1×1; a shortcut where the shape stays."""

    def __init__(self, source: int, target: int, expansion: int, stride: int) -> None:
        """Map `source` channels to `target`; a stride of 2 halves the side."""
        super().__init__()
        inner = source * expansion
        self.keeps = stride == 1 and source == target
        self.body = nn.Sequential(
            nn.Conv2d(source, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, target, 1, bias=False),
            nn.BatchNorm2d(target),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (n, source, h, w) to (n, target, h / stride, w / stride)."""
        mapped: Tensor = self.body(image)
        return image + mapped if self.keeps else mapped


class MobileEncoder(nn.Module):
    """Images to unit vectors: the mean over all places of what the last stage sees."""

    def __init__(self, config: MobileConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(config.stem), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        for source, target in zip((config.stem, *config.stages), config.stages, strict=False):
            blocks.append(InvertedResidual(source, target, config.expansion, 2))
            blocks += [InvertedResidual(target, target, config.expansion, 1) for _ in range(config.depth - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.rise = nn.Sequential(
            nn.Conv2d(config.stages[-1], config.width, 1, bias=False), nn.BatchNorm2d(config.width), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode (n, 3, side, side) float32 images of −1…1 as (n, width) unit vectors."""
        return unit(torch.mean(self.rise(self.blocks(self.stem(images))), dim=(2, 3)))


class MobileTower(nn.Module):
    """H&E tiles to unit vectors of the shared space: averaged down, scaled to −1…1, encoder, head, L2."""

    def __init__(self, config: MobileConfig, dimension: int) -> None:
        """Build with random weights."""
        super().__init__()
        if config.tile % config.side:
            raise ValueError(f"A tile of {config.tile} pixels can't be averaged down to {config.side}.")
        self.config = config
        self.encoder = MobileEncoder(config)
        self.head = ProjectionHead(config.width, dimension)

    def forward(self, tiles: Tensor) -> Tensor:
        """Embed (n, tile, tile, 3) uint8 tiles as (n, dimension) unit vectors."""
        return unit(self.embed(self.resize(tiles.to(torch.float32))))

    def resize(self, tiles: Tensor) -> Tensor:
        """Average (n, tile, tile, 3) float32 down to (n, 3, side, side)."""
        shrink = self.config.tile // self.config.side
        first = tiles.permute(0, 3, 1, 2)
        return first if shrink == 1 else F.avg_pool2d(first, shrink)

    def encode(self, resized: Tensor) -> Tensor:
        """Encode (n, 3, side, side) float32 images of 0…255 as (n, width) unit vectors, before the head."""
        encoded: Tensor = self.encoder(normalise(resized))
        return encoded

    def embed(self, resized: Tensor) -> Tensor:
        """Embed (n, 3, side, side) float32 images of 0…255 as (n, dimension) vectors, not normalised."""
        projected: Tensor = self.head(self.encode(resized))
        return projected
