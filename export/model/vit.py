"""Vision transformers as timm builds them, with timm's names of weights: ViT, DINOv2's registers, packed SwiGLU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Feed = Literal["gelu", "swiglu"]
"""Feed-forward layers: GELU between two matrices, or timm's SwiGLUPacked (gate and value in one first matrix)."""

Pool = Literal["token", "token+mean"]
"""What stands for the image: the class token, or that beside the mean of the patches' tokens (Virchow's card)."""


@dataclass(frozen=True, slots=True)
class VitConfig:
    """Sizes and variants of a vision transformer; the defaults are ViT-L/16 at 224 px (UNI's).

    Attributes:
        side: Side of an image in pixels.
        patch: Side of a patch in pixels.
        width: Length of a token's vector.
        depth: Transformer blocks.
        heads: Attention heads.
        hidden: Rows of the first feed-forward matrix; for `swiglu` twice the width between the two.
        feed: Kind of feed-forward layer.
        qkv_bias: Whether queries, keys and values have biases.
        layer_scale: Whether each branch of a block is scaled by learned factors.
        registers: Tokens beside the class token that stand for nothing (DINOv2 with registers).
        prefix_positions: Whether class token and registers have rows in the position table.
        pre_norm: Normalise tokens before the first block; the patches then have no bias (CLIP).
        pool: What stands for the image.
        eps: Added to the variance in every normalisation.
    """

    side: int = 224
    patch: int = 16
    width: int = 1024
    depth: int = 24
    heads: int = 16
    hidden: int = 4096
    feed: Feed = "gelu"
    qkv_bias: bool = True
    layer_scale: bool = True
    registers: int = 0
    prefix_positions: bool = True
    pre_norm: bool = False
    pool: Pool = "token"
    eps: float = 1e-6

    @property
    def dimension(self) -> int:
        """Length of an image's vector."""
        return self.width if self.pool == "token" else 2 * self.width

    @property
    def prefix(self) -> int:
        """Tokens before those of the patches."""
        return 1 + self.registers

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.side // self.patch) ** 2

    def check(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ValueError: They do not.
        """
        if self.width % self.heads:
            raise ValueError(f"The width {self.width} is not a multiple of {self.heads} heads.")
        if self.side % self.patch:
            raise ValueError(f"Patches of {self.patch} pixels do not fit a side of {self.side}.")
        if self.feed == "swiglu" and self.hidden % 2:
            raise ValueError(f"A packed SwiGLU needs an even number of rows, not {self.hidden}.")


class PatchEmbedding(nn.Module):
    """One linear map of each patch."""

    def __init__(self, config: VitConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=not config.pre_norm)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, 3, side, side) to (n, patches, width), row by row."""
        cells: Tensor = self.proj(images)
        return cells.flatten(2).transpose(1, 2)


class JoinedAttention(nn.Module):
    """Multi-head self-attention whose queries, keys and values are one matrix.

    Softmax and matrix products stand in the open, as in `attention.Attention` and for the same reason.
    """

    def __init__(self, config: VitConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.heads = config.heads
        self.size = config.width // config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.qkv_bias)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, l, width) to the same shape."""
        query, key, value = (self._cut(part) for part in torch.chunk(self.qkv(tokens), 3, dim=-1))
        scores = torch.matmul(query * self.size**-0.5, key.transpose(-1, -2))
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value).permute(0, 2, 1, 3)
        attended: Tensor = self.proj(mixed.reshape(tokens.shape[0], tokens.shape[1], self.heads * self.size))
        return attended

    def _cut(self, tokens: Tensor) -> Tensor:
        """(n, l, width) to (n, heads, l, size)."""
        return tokens.reshape(tokens.shape[0], tokens.shape[1], self.heads, self.size).permute(0, 2, 1, 3)


class FeedForward(nn.Module):
    """Two matrices with exact GELU between them, or with SiLU of the first half times the second (`swiglu`)."""

    def __init__(self, config: VitConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.gated = config.feed == "swiglu"
        self.fc1 = nn.Linear(config.width, config.hidden)
        self.fc2 = nn.Linear(config.hidden // 2 if self.gated else config.hidden, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, l, width) to the same shape."""
        risen = self.fc1(tokens)
        if self.gated:
            gate, value = torch.chunk(risen, 2, dim=-1)
            return self.fc2(F.silu(gate) * value)  # type: ignore[no-any-return]
        return self.fc2(F.gelu(risen))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """A learned factor for each entry of a token."""

    def __init__(self, width: int) -> None:
        """Begin with factors of 1."""
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scale (n, l, width)."""
        return tokens * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: VitConfig) -> None:
        """Build with random weights."""
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=config.eps)
        self.attn = JoinedAttention(config)
        self.ls1 = LayerScale(width) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=config.eps)
        self.mlp = FeedForward(config)
        self.ls2 = LayerScale(width) if config.layer_scale else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, l, width) to the same shape."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        fed: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return fed


class VisionTransformer(nn.Module):
    """Images to vectors, which are not normalised.

    The names of the weights are those of timm's class of the same name, so its state dicts load strictly.
    """

    def __init__(self, config: VitConfig) -> None:
        """Build with random weights.

        Raises:
            ValueError: The sizes do not fit each other.
        """
        super().__init__()
        config.check()
        self.config = config
        width, rows = config.width, config.patches + (config.prefix if config.prefix_positions else 0)
        self.patch_embed = PatchEmbedding(config)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.reg_token = nn.Parameter(torch.randn(1, config.registers, width) * 0.02) if config.registers else None
        self.pos_embed = nn.Parameter(torch.randn(1, rows, width) * 0.02)
        self.norm_pre = nn.LayerNorm(width, eps=config.eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=config.eps)

    def forward(self, images: Tensor) -> Tensor:
        """Encode (n, 3, side, side) float32 images, standardised, as (n, dimension) vectors."""
        tokens = self.norm_pre(self._tokens(self.patch_embed(images)))
        for block in self.blocks:
            tokens = block(tokens)
        if self.config.pool == "token":
            first: Tensor = self.norm(tokens[:, 0])
            return first
        tokens = self.norm(tokens)
        return torch.cat([tokens[:, 0], torch.mean(tokens[:, self.config.prefix :], dim=1)], dim=-1)

    def _tokens(self, cells: Tensor) -> Tensor:
        """Patches with positions, behind the class token and the registers."""
        if not self.config.prefix_positions:
            cells = cells + self.pos_embed
        first = [token for token in (self.cls_token, self.reg_token) if token is not None]
        spread = [token.expand(cells.shape[0], token.shape[1], token.shape[2]) for token in first]
        tokens = torch.cat([*spread, cells], dim=1)
        return tokens + self.pos_embed if self.config.prefix_positions else tokens
