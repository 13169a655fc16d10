"""Multi-head self-attention, written in the plain operators that every engine takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .rotary import Rotary


class Attention(nn.Module):
    """Multi-head self-attention with a mask of the keys.

    Softmax and matrix products stand in the open: a graph with a fused attention or with its "safe softmax"
    (IsNaN, Where) is not one that every engine takes.
    """

    def __init__(self, width: int, heads: int, *, inner_norm: bool = False, rotary: Rotary | None = None) -> None:
        """Build query, key, value and output maps of `width`, cut into `heads`.

        Args:
            width: Length of a token's vector.
            heads: Heads; divides the width.
            inner_norm: Normalise the joined heads before the output map (MUSK's sub-LN).
            rotary: Turns queries and keys by their places.
        """
        super().__init__()
        if width % heads:
            raise ValueError(f"The width {width} is not a multiple of {heads} heads.")
        self.heads = heads
        self.size = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.norm_inner = nn.LayerNorm(width) if inner_norm else nn.Identity()
        self.output = nn.Linear(width, width)
        self.rotary = rotary

    def forward(self, tokens: Tensor, bias: Tensor | None = None, asking: Tensor | None = None) -> Tensor:
        """Attend within each row.

        Args:
            tokens: (n, l, width), what is attended to.
            bias: (n, 1, 1, l), added to the scores: 0 where a key counts, a large negative number where not.
            asking: (n, q, width) the tokens that attend, where they are not all of `tokens`.

        Returns:
            (n, l, width), or (n, q, width).
        """
        asking = tokens if asking is None else asking
        query, key, value = self._cut(self.query(asking)), self._cut(self.key(tokens)), self._cut(self.value(tokens))
        if self.rotary is not None:
            query, key = self.rotary(query), self.rotary(key)
        scores = torch.matmul(query * self.size**-0.5, key.transpose(-1, -2))
        if bias is not None:
            scores = scores + bias
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value).permute(0, 2, 1, 3)
        joined = mixed.reshape(asking.shape[0], asking.shape[1], self.heads * self.size)
        attended: Tensor = self.output(self.norm_inner(joined))
        return attended

    def _cut(self, tokens: Tensor) -> Tensor:
        """(n, l, width) to (n, heads, l, size)."""
        return tokens.reshape(tokens.shape[0], tokens.shape[1], self.heads, self.size).permute(0, 2, 1, 3)


def key_bias(keep: Tensor) -> Tensor:
    """Turn a mask of keys into scores to add.

    Args:
        keep: (n, l), 1 where a key counts.

    Returns:
        (n, 1, 1, l) float32: 0 where a key counts, −1e4 where not: it fits half precision, and e^−1e4 is 0.
    """
    return (keep.to(torch.float32) - 1.0)[:, None, None, :] * 1e4
