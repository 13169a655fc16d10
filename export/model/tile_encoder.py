"""A vision transformer as a tower: H&E tiles to features, so that whatever comes after can share its graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .resize import Interpolation, Resize
from .vit import VisionTransformer, VitConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of red, green and blue in 0…1: what UNI, UNI2-h and Virchow2 standardise by."""

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class TileEncoderConfig:
    """What a tile encoder takes, and how it prepares it.

    Attributes:
        vit: The transformer's sizes.
        tile: Side of an incoming tile in pixels.
        mpp: Micrometres per pixel of an incoming tile; 224 px at 0.5 are SPADE's 112 µm.
        scaled: Side to which a tile is resized before its middle `vit.side` pixels are kept; None to keep all of it.
        interpolation: Kernel of the resize; nothing is resized where the sides are the same.
        mean: Subtracted from red, green and blue in 0…1.
        std: What they are divided by then.
    """

    vit: VitConfig = field(default_factory=VitConfig)
    tile: int = 224
    mpp: float = 0.5
    scaled: int | None = None
    interpolation: Interpolation = "bicubic"
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TileEncoderConfig:
        """Rebuild what `dataclasses.asdict` and JSON made of a configuration, where tuples are lists."""
        made = cls(**{**values, "vit": VitConfig(**values["vit"])})
        return replace(made, mean=tuple(values["mean"]), std=tuple(values["std"]))


class TileEncoder(nn.Module):
    """H&E tiles to features: resize, standardise, transformer. Features are not normalised."""

    scale: Tensor
    shift: Tensor

    def __init__(self, config: TileEncoderConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.resize = Resize(config.tile, config.vit.side, config.interpolation, config.scaled)
        mean, std = (np.asarray(values, np.float64)[:, None, None] for values in (config.mean, config.std))
        # (x / 255 − mean) / std as one product and one sum
        self.register_buffer("scale", torch.from_numpy((1 / (255 * std)).astype(np.float32)), persistent=False)
        self.register_buffer("shift", torch.from_numpy((-mean / std).astype(np.float32)), persistent=False)
        self.vit = VisionTransformer(config.vit)

    @property
    def dimension(self) -> int:
        """Length of a tile's features."""
        return self.config.vit.dimension

    @property
    def tile_size(self) -> int:
        """Side of an incoming tile in pixels."""
        return self.config.tile

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of an incoming tile."""
        return self.config.mpp

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode (n, tile, tile, 3) uint8 tiles as (n, dimension) float32 features, not normalised."""
        return self.encode(self.resize(tiles.to(torch.float32)))

    def encode(self, resized: Tensor) -> Tensor:
        """Encode (n, 3, side, side) float32 images of 0…255 as (n, dimension) features."""
        features: Tensor = self.vit(resized * self.scale + self.shift)
        return features
