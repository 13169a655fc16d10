"""The text tower: BERT with masked mean pooling, at any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention, key_bias
from .config import TextConfig
from .heads import ProjectionHead, unit

NORM_EPS = 1e-12
"""BERT's own; PyTorch's default is 1e-5."""


class BertLayer(nn.Module):
    """A post-norm transformer layer: norm(x + attention(x)), then norm(x + feed-forward(x)) with the exact GELU."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        """Build the layer; see `Attention` for the sizes."""
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm_attention = nn.LayerNorm(width, eps=NORM_EPS)
        self.rise = nn.Linear(width, hidden)
        self.fall = nn.Linear(hidden, width)
        self.norm_feed = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Map (n, l, width) to the same shape; `bias` as in `Attention`."""
        tokens = self.norm_attention(tokens + self.attention(tokens, bias))
        fed: Tensor = self.norm_feed(tokens + self.fall(F.gelu(self.rise(tokens))))
        return fed


class BertEncoder(nn.Module):
    """Token ids to unit vectors. One segment only: its vector is added everywhere, as BERT does by default."""

    def __init__(self, config: TextConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.segment = nn.Parameter(torch.zeros(config.width))
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.layers = nn.ModuleList(BertLayer(config.width, config.hidden, config.heads) for _ in range(config.layers))
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode (n, l) int64 ids with their mask as (n, width) unit vectors.

        Pooling is Haiku's: sum(mask · h) / max(sum(mask), 1e-9), then L2. Padding therefore changes nothing.
        """
        places = self.positions.weight[: input_ids.shape[1]] + self.segment
        tokens = self.norm(self.words(input_ids) + places)
        bias = key_bias(attention_mask)
        for layer in self.layers:
            tokens = layer(tokens, bias)
        mask = attention_mask.to(torch.float32)[:, :, None]
        return unit(torch.sum(tokens * mask, dim=1) / torch.clamp(mask.sum(dim=1), min=1e-9))


class TextTower(nn.Module):
    """Token ids to unit vectors of the shared space."""

    def __init__(self, config: TextConfig, dimension: int) -> None:
        """Build with random weights."""
        super().__init__()
        if config.positions < config.length:
            raise ValueError(f"{config.positions} positions are too few for texts of {config.length} tokens.")
        self.config = config
        self.encoder = BertEncoder(config)
        self.head = ProjectionHead(config.width, dimension)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts.

        Args:
            input_ids: (n, l) int64, l at most the longest text that the tower knows.
            attention_mask: (n, l) int64, 1 for a token and 0 for padding.

        Returns:
            (n, dimension) unit vectors.
        """
        return unit(self.embed(input_ids, attention_mask))

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The encoder's (n, width) unit vectors, before the head."""
        encoded: Tensor = self.encoder(input_ids, attention_mask)
        return encoded

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As `forward`, without the final normalisation."""
        projected: Tensor = self.head(self.encode(input_ids, attention_mask))
        return projected
