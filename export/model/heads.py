"""The projection head that ends every tower, and the layers that several towers share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """Linear → ReLU → Linear → BatchNorm, as in Haiku (2605.00925; heads are not shared among the modalities).

    In evaluation the BatchNorm is an affine map; `folded` merges it into the second Linear.
    """

    def __init__(self, width: int, dimension: int) -> None:
        """Build the head.

        Args:
            width: Length of the encoder's vector.
            dimension: Length of the shared vector.
        """
        super().__init__()
        self.first = nn.Linear(width, dimension)
        self.second = nn.Linear(dimension, dimension)
        self.norm: nn.Module = nn.BatchNorm1d(dimension)
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, encoded: Tensor) -> Tensor:
        """Project (n, width) to (n, dimension); not normalised."""
        projected: Tensor = self.norm(self.second(torch.relu(self.first(encoded))))
        return projected

    @torch.no_grad()
    def folded(self) -> ProjectionHead:
        """Return the same head with its BatchNorm merged: W' = diag(γ/√(σ²+ε))·W, b' = (b−μ)·γ/√(σ²+ε)+β."""
        head = ProjectionHead(self.first.in_features, self.second.out_features)
        head.first.load_state_dict(self.first.state_dict())
        head.second.load_state_dict(self.second.state_dict())
        norm = self.norm
        if isinstance(norm, nn.BatchNorm1d):
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            head.second.weight.mul_(scale[:, None])
            head.second.bias.sub_(norm.running_mean).mul_(scale).add_(norm.bias)
        head.norm = nn.Identity()
        return head.eval()


def unit(vectors: Tensor) -> Tensor:
    """Scale each row of (n, d) to length 1, written so that the graph holds plain operators only."""
    length = torch.sqrt(torch.sum(vectors * vectors, dim=-1, keepdim=True))
    return vectors / torch.clamp(length, min=1e-12)


class Attention(nn.Module):
    """Multi-head self-attention with a mask of the keys.

    Softmax and matrix products stand in the open: a graph with a fused attention or with its "safe softmax"
    (IsNaN, Where) is not one that every engine takes.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Build query, key, value and output maps of `width`, cut into `heads`."""
        super().__init__()
        if width % heads:
            raise ValueError(f"The width {width} is not a multiple of {heads} heads.")
        self.heads = heads
        self.size = width // heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend within each row.

        Args:
            tokens: (n, l, width).
            bias: (n, 1, 1, l), added to the scores: 0 where a key counts, a large negative number where not.

        Returns:
            (n, l, width).
        """
        rows, length = tokens.shape[0], tokens.shape[1]
        parts = self.query_key_value(tokens).reshape(rows, length, 3, self.heads, self.size)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.matmul(query, key.transpose(-1, -2)) * self.size**-0.5
        if bias is not None:
            scores = scores + bias
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
        attended: Tensor = self.output(mixed.permute(0, 2, 1, 3).reshape(rows, length, self.heads * self.size))
        return attended


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + feed-forward(norm(x)) with the exact GELU."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        """Build the block; see `Attention` for the sizes."""
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_feed = nn.LayerNorm(width)
        self.rise = nn.Linear(width, hidden)
        self.fall = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map (n, l, width) to the same shape; `bias` as in `Attention`."""
        tokens = tokens + self.attention(self.norm_attention(tokens), bias)
        fed: Tensor = tokens + self.fall(F.gelu(self.rise(self.norm_feed(tokens))))
        return fed


def key_bias(keep: Tensor) -> Tensor:
    """Turn a mask of keys into scores to add.

    Args:
        keep: (n, l), 1 where a key counts.

    Returns:
        (n, 1, 1, l) float32: 0 where a key counts, −1e9 where not (finite: a softmax over nothing stays finite).
    """
    return (keep.to(torch.float32) - 1.0)[:, None, None, :] * 1e9
