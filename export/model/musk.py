"""The H&E tower: the vision half of MUSK, at any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention
from .config import HeConfig
from .heads import ProjectionHead, unit
from .resize import Resize


class MuskLayer(nn.Module):
    """A transformer layer with sub-LN (BEiT-3's): a norm before and one inside both attention and feed-forward."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        """Build the layer; see `Attention` for the sizes."""
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads, inner_norm=True)
        self.norm_feed = nn.LayerNorm(width)
        self.rise = nn.Linear(width, hidden)
        self.norm_hidden = nn.LayerNorm(hidden)
        self.fall = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, l, width) to the same shape."""
        tokens = tokens + self.attention(self.norm_attention(tokens))
        fed: Tensor = tokens + self.fall(self.norm_hidden(F.gelu(self.rise(self.norm_feed(tokens)))))
        return fed


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


def _stem(widths: tuple[int, ...]) -> nn.Sequential:
    """Stages that each halve the side; all but the first go on with a residual block."""
    stages: list[nn.Module] = []
    for number, (source, target) in enumerate(zip((3, *widths), widths, strict=False)):
        halve = nn.Conv2d(source, target, 3, stride=2, padding=1, bias=False)
        stages += [halve, nn.BatchNorm2d(target), nn.ReLU(), *([Residual(target)] if number else [])]
    return nn.Sequential(*stages)


class MuskEncoder(nn.Module):
    """Images to unit vectors: patches, a class token, learned positions, layers, the vision head.

    Source: MUSK's vision path (BEiT-3 large with the vision expert alone, `with_head`, `out_norm`).
    """

    def __init__(self, config: HeConfig) -> None:
        """Build with random weights."""
        super().__init__()
        shrink = 2 ** len(config.stem)
        if config.patch % shrink or config.side % config.patch:
            raise ValueError(f"Patches of {config.patch} pixels do not fit a side of {config.side} and the stem.")
        step = config.patch // shrink
        self.stem = _stem(config.stem)
        self.patches = nn.Conv2d(config.stem[-1] if config.stem else 3, config.width, step, stride=step)
        self.class_token = nn.Parameter(torch.randn(config.width) * 0.02)
        self.positions = nn.Parameter(torch.randn((config.side // config.patch) ** 2 + 1, config.width) * 0.02)
        self.layers = nn.ModuleList(MuskLayer(config.width, config.hidden, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.vision_head = nn.Linear(config.width, config.width, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Encode (n, 3, side, side) float32 images of −1…1 as (n, width) unit vectors."""
        cells = self.patches(self.stem(images)).flatten(2).transpose(1, 2)
        first = self.class_token.expand(cells.shape[0], 1, cells.shape[2])
        tokens = torch.cat([first, cells], dim=1) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        return unit(self.vision_head(self.norm(tokens[:, 0])))


class HeTower(nn.Module):
    """H&E tiles to unit vectors of the shared space: bicubic resize, scaling to −1…1, encoder, head, L2."""

    def __init__(self, config: HeConfig, dimension: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.resize = Resize(config.tile, config.side)
        self.encoder = MuskEncoder(config)
        self.head = ProjectionHead(config.width, dimension)

    def forward(self, tiles: Tensor) -> Tensor:
        """Embed (n, tile, tile, 3) uint8 tiles as (n, dimension) unit vectors."""
        return unit(self.embed(self.resize(tiles.to(torch.float32))))

    def encode(self, resized: Tensor) -> Tensor:
        """Encode (n, 3, side, side) float32 images of 0…255 as (n, width) unit vectors, before the head."""
        encoded: Tensor = self.encoder(normalise(resized))
        return encoded

    def embed(self, resized: Tensor) -> Tensor:
        """Embed (n, 3, side, side) float32 images of 0…255 as (n, dimension) vectors, not normalised."""
        projected: Tensor = self.head(self.encode(resized))
        return projected


def normalise(resized: Tensor) -> Tensor:
    """Scale 0…255 to −1…1: mean and standard deviation 0.5 of values of 0…1."""
    return resized / 127.5 - 1.0
