"""A transformer over a patient's patches (TransMIL; Shao and others, 2106.00908), with exact attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from .bags import MOST_PATCHES
from .network import BagNetwork, Inputs
from .settings import MilSettings

HEADS = 8
"""Attention heads, as published."""

KERNELS = (7, 5, 3)
"""Sides of the convolutions that tell a patch where it lies, as published."""


class TransMil(BagNetwork):
    """Patches → one score a patient, by a class token that all patches attend to, and that attends to them.

    As published, the patches are folded into a square in the order in which they come, row by row of the slide; the
    square is filled up with the first ones, and depthwise convolutions over it are added between the two layers. So the
    order matters here. The published attention is an approximation (Nyström); this one is exact, and of more than
    `MOST_PATCHES` patches every k-th is looked at, when predicting too: attention grows with the square.
    """

    def __init__(self, inputs: Inputs, dimension: int, outputs: int, settings: MilSettings) -> None:
        """Make it with random weights; the width must be a multiple of `HEADS`."""
        super().__init__()
        width = settings.width
        self.inputs = inputs
        self.embed = nn.Sequential(nn.Linear(dimension, width), nn.ReLU())
        self.token = nn.Parameter(torch.randn(1, width))
        self.first, self.second = (_Layer(width, settings.dropout) for _ in range(2))
        self.places = nn.ModuleList(nn.Conv2d(width, width, side, padding=side // 2, groups=width) for side in KERNELS)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, vectors: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BagNetwork`. The attention is that of the class token in the second layer; 0 for patches not seen."""
        counts = [vectors.shape[1]] * len(vectors) if real is None else real.sum(dim=1).tolist()
        found = [self._score(bag[:count]) for bag, count in zip(vectors, counts, strict=True)]
        attention = [pad(weight, (0, vectors.shape[1] - len(weight))) for _, weight in found]
        return torch.stack([score for score, _ in found]), torch.stack(attention)

    def _score(self, bag: Tensor) -> tuple[Tensor, Tensor]:
        """(outputs,) scores and (n,) attention of one patient's (n, d) patches."""
        step = max(1, -(-len(bag) // MOST_PATCHES))
        hidden = self.embed(self.inputs(bag[::step]))
        seen = len(hidden)
        side = math.isqrt(seen - 1) + 1
        hidden = torch.cat([self.token, hidden, hidden[: side * side - seen]])
        hidden = self._with_places(self.first(hidden), side)
        weights = self.second.token_attention(hidden)
        folded = weights[:seen] + pad(weights[seen:], (0, 2 * seen - side * side))
        attention = bag.new_zeros(len(bag))
        attention[::step] = folded / folded.sum()
        return self.head(self.norm(self.second(hidden)[0])), attention

    def _with_places(self, hidden: Tensor, side: int) -> Tensor:
        """Add to every patch what the convolutions see around it in the square."""
        token, patches = hidden[:1], hidden[1:]
        square = patches.T.reshape(1, -1, side, side)
        seen = square + sum((conv(square) for conv in self.places), torch.zeros_like(square))
        return torch.cat([token, seen.flatten(2)[0].T])


class _Layer(nn.Module):
    """LayerNorm, attention of all to all, and the way around it."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.split = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, width) → (n, width)."""
        query, key, value = self._parts(hidden)
        mixed = scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.out(mixed.transpose(0, 1).flatten(1))
        return hidden + joined

    def token_attention(self, hidden: Tensor) -> Tensor:
        """(n - 1,) what the first row gives the others, mean over the heads."""
        query, key, _ = self._parts(hidden)
        logits = query[:, :1] @ key.transpose(1, 2) / math.sqrt(key.shape[2])
        return torch.softmax(logits, dim=-1).mean(dim=0)[0, 1:]

    def _parts(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (heads, n, width / heads)."""
        split = self.split(self.norm(hidden)).reshape(len(hidden), 3, HEADS, -1).permute(1, 2, 0, 3)
        return split[0], split[1], split[2]
