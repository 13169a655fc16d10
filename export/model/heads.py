"""The projection head that ends every tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
