"""The text tower: a small BERT-like encoder with masked mean pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import TextConfig
from .heads import Block, ProjectionHead, key_bias, unit


class TextTower(nn.Module):
    """Token ids to unit vectors.

    Pooling is Haiku's: sum(mask · h) / max(sum(mask), 1e-9), then L2, then the head. Padding therefore changes nothing.
    """

    places: Tensor

    def __init__(self, config: TextConfig, dimension: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.length, config.width)
        self.norm_input = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.hidden, config.heads) for _ in range(config.layers))
        self.norm_output = nn.LayerNorm(config.width)
        self.head = ProjectionHead(config.width, dimension)
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts.

        Args:
            input_ids: (n, l) int64, l at most the longest text that the tower knows.
            attention_mask: (n, l) int64, 1 for a token and 0 for padding.

        Returns:
            (n, dimension) unit vectors.
        """
        return unit(self.embed(input_ids, attention_mask))

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As `forward`, without the final normalisation."""
        tokens = self.norm_input(self.words(input_ids) + self.positions.weight[: input_ids.shape[1]])
        bias = key_bias(attention_mask)
        for block in self.blocks:
            tokens = block(tokens, bias)
        mask = attention_mask.to(torch.float32)[:, :, None]
        pooled = torch.sum(self.norm_output(tokens) * mask, dim=1) / torch.clamp(mask.sum(dim=1), min=1e-9)
        projected: Tensor = self.head(unit(pooled))
        return projected
