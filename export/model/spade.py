"""SPADE (arXiv 2506.21857): features routed by their distance to centroids through a mixture of small experts.

The routing is arithmetic on distances, and their last digits count: the features of foundation models lie some tens
apart (those of a bundle's H&E tower at most 2), and the temperature is 0.1. So distances are of direct differences, in
single precision, without a matrix product. The published code calls `torch.cdist`, which is one beyond 25 rows: its
weights change by 1e-5 with the size of the batch, these do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

DROPOUT = 0.1
"""Of a head, in training (published)."""

_ROWS_AT_ONCE = 256
"""Rows whose differences to all centroids fit in memory: 250 MB at 240 centroids of 1,024 entries."""


@dataclass(frozen=True, slots=True)
class MixtureConfig:
    """Sizes of a mixture, and how it routes; the defaults are the published ones.

    Attributes:
        features: Length of an image's features.
        width: Length of an embedding.
        experts: Number of experts.
        centroids: Number of centroids.
        temperature: Of the softmax over negative distances.
        top: None weighs all experts by the softmax over all centroids, as published. 1 takes the nearest centroid's
            expert alone. More keep so many experts of the largest weights, which then sum to 1 again.
    """

    features: int
    width: int = 256
    experts: int = 16
    centroids: int = 240
    temperature: float = 0.1
    top: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be routed by (ValueError)."""
        if min(self.features, self.width, self.experts) < 1 or self.centroids < self.experts:
            raise ValueError("A mixture needs features, experts, and at least a centroid an expert.")
        if not (self.temperature > 0 and np.isfinite(self.temperature)):
            raise ValueError(f"The temperature of routing must be a positive number, not {self.temperature}.")
        if self.top is not None and not 1 <= self.top <= self.experts:
            raise ValueError(f"From 1 to {self.experts} experts can be kept, not {self.top}.")


class ResidualHead(nn.Module):
    """LayerNorm(fc(GELU(p)) + p) with p = projection(x); the names of the weights are the published ones."""

    def __init__(self, features: int, width: int = 256, dropout: float = DROPOUT) -> None:
        """Build with random weights.

        Args:
            features: Length of what comes in: image features, or counts of genes.
            width: Length of an embedding.
            dropout: Share of the inner vector that training leaves out.
        """
        super().__init__()
        self.projection = nn.Linear(features, width)
        self.fc = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        """Map (n, features) to (n, width), normalised over its entries but not to unit length."""
        projected = self.projection(values)
        embedded: Tensor = self.layer_norm(self.dropout(self.fc(F.gelu(projected))) + projected)
        return embedded


class Expert(nn.Module):
    """An image head and a gene head that learned from the spots of one cluster."""

    def __init__(self, features: int, genes: int, width: int = 256, dropout: float = DROPOUT) -> None:
        """Build with random weights.

        Args:
            features: Length of an image's features.
            genes: Number of genes.
            width: Length of an embedding.
            dropout: As of `ResidualHead`.
        """
        super().__init__()
        self.image_projection = ResidualHead(features, width, dropout)
        self.spot_projection = ResidualHead(genes, width, dropout)

    def forward(self, features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Embed (n, features) images and (n, genes) counts as two matrices (n, width), in that order."""
        return self.image_projection(features), self.spot_projection(counts)


def soft_target_loss(spots: Tensor, images: Tensor, temperature: float = 1.0) -> Tensor:
    """The contrastive loss whose targets are how alike the pairs are among themselves (BLEEP; SPADE, 2506.21857).

    Args:
        spots: (n, width) embeddings of counts.
        images: (n, width) embeddings of the same spots' images.
        temperature: τ.

    Returns:
        Scalar: mean over rows of ½ [CE(S·Iᵀ/τ, T) + CE(I·Sᵀ/τ, Tᵀ)], T = softmax over rows of τ (I·Iᵀ + S·Sᵀ) / 2.
    """
    logits = spots @ images.t() / temperature
    targets = torch.softmax((images @ images.t() + spots @ spots.t()) / 2 * temperature, dim=1)
    by_spot = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
    by_image = -(targets.t() * torch.log_softmax(logits.t(), dim=1)).sum(dim=1)
    return ((by_spot + by_image) / 2).mean()


class Router(nn.Module):
    """Weights of the experts, from features."""

    centroids: Tensor
    members: Tensor

    def __init__(self, config: MixtureConfig, centroids: Tensor, expert_of: Tensor) -> None:
        """Hold the centroids.

        Args:
            config: Sizes.
            centroids: (K, features) float32.
            expert_of: (K,) int64, the expert of each centroid.

        Raises:
            ValueError: They are not of these sizes.
        """
        super().__init__()
        if centroids.shape != (config.centroids, config.features) or expert_of.shape != (config.centroids,):
            raise ValueError("The centroids, or the map of their experts, are not of the stated size.")
        self.config = config
        # Buffers, as all that is arithmetic and not a learned product: storage in half precision leaves them alone.
        self.register_buffer("centroids", centroids.to(torch.float32).contiguous())
        self.register_buffer("members", F.one_hot(expert_of.to(torch.int64), config.experts).to(torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """Weigh the experts for (n, features): (n, experts) float32, rows sum to 1."""
        distances = self.distances(features)
        if self.config.top == 1:
            return torch.index_select(self.members, 0, torch.argmin(distances, dim=1))
        shares = torch.softmax(-distances / self.config.temperature, dim=1)
        # Not a matrix product, which engines compute in half precision.
        weights = torch.sum(shares[:, :, None] * self.members, dim=1)
        return weights if self.config.top is None else _largest(weights, self.config.top)

    def distances(self, features: Tensor) -> Tensor:
        """Euclidean distances of (n, features) to each centroid, (n, K) float32."""
        differences = features.to(torch.float32)[:, None, :] - self.centroids
        return torch.sqrt(torch.sum(differences * differences, dim=2))


def _largest(weights: Tensor, count: int) -> Tensor:
    """Keep the largest `count` weights of each row, and what equals the last of them; rows sum to 1 again."""
    least = torch.topk(weights, count, dim=1).values[:, -1:]
    kept = torch.where(weights >= least, weights, 0.0)
    return kept / torch.sum(kept, dim=1, keepdim=True)


class StackedHeads(nn.Module):
    """The heads of all experts, which share their input: one product, then one grouped product."""

    def __init__(self, heads: Sequence[ResidualHead]) -> None:
        """Stack the weights of heads of one shape, as they are in evaluation."""
        super().__init__()
        self.experts, self.width = len(heads), heads[0].fc.out_features
        self.eps = heads[0].layer_norm.eps
        self.first = _fixed(torch.cat([head.projection.weight for head in heads]))
        self.first_bias = _fixed(torch.cat([head.projection.bias for head in heads]))
        self.second = _fixed(torch.stack([head.fc.weight.t() for head in heads]))
        self.second_bias = _fixed(torch.stack([head.fc.bias for head in heads])[:, None])
        self.scale = _fixed(torch.stack([head.layer_norm.weight for head in heads])[:, None])
        self.shift = _fixed(torch.stack([head.layer_norm.bias for head in heads])[:, None])

    def forward(self, values: Tensor) -> Tensor:
        """Map (n, length) to (experts, n, width)."""
        joined = F.linear(values, self.first, self.first_bias)
        projected = joined.reshape(values.shape[0], self.experts, self.width).permute(1, 0, 2)
        summed = torch.matmul(F.gelu(projected), self.second) + self.second_bias + projected
        return F.layer_norm(summed, (self.width,), eps=self.eps) * self.scale + self.shift


def _fixed(weights: Tensor) -> nn.Parameter:
    return nn.Parameter(weights.detach().contiguous(), requires_grad=False)


class Mixture(nn.Module):
    """Centroids and experts as they infer: features to embeddings. It has no dropout and is not trained as a whole."""

    def __init__(
        self,
        config: MixtureConfig,
        centroids: Tensor,
        expert_of: Tensor,
        images: Sequence[ResidualHead],
        spots: Sequence[ResidualHead] | None = None,
    ) -> None:
        """Put a mixture together.

        Args:
            config: Sizes.
            centroids: (K, features) float32.
            expert_of: (K,) int64, the expert of each centroid.
            images: Image head of each expert.
            spots: Gene head of each expert; None for a mixture that embeds no counts.

        Raises:
            ValueError: The parts are not of these sizes.
        """
        super().__init__()
        if len(images) != config.experts or (spots is not None and len(spots) != config.experts):
            raise ValueError(f"The mixture has {config.experts} experts, so it needs a head of each.")
        self.config = config
        self.router = Router(config, centroids, expert_of)
        self.images = StackedHeads(images)
        self.spots = None if spots is None else StackedHeads(spots)
        self.eval()

    @classmethod
    def from_parts(
        cls, config: MixtureConfig, centroids: Tensor, expert_of: Tensor, experts: Sequence[Expert]
    ) -> Mixture:
        """Put a mixture together from trained experts; see the constructor."""
        images = [expert.image_projection for expert in experts]
        return cls(config, centroids, expert_of, images, [expert.spot_projection for expert in experts])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Embed images.

        Args:
            features: (n, features), as the encoder gives them, not normalised.

        Returns:
            (n, width) float32, the weighted sum of the experts' embeddings, not normalised; and (n, experts) float32,
            the weights, whose rows sum to 1.
        """
        weights = self.router(features)
        return _mix(self.images(features), weights), weights

    def embed_spots(self, features: Tensor, counts: Tensor) -> Tensor:
        """Embed counts, by the experts that the images of the same spots are routed to.

        Args:
            features: (n, features) of the images.
            counts: (n, genes) raw counts.

        Returns:
            (n, width) float32, not normalised.

        Raises:
            ValueError: The mixture has no gene heads.
        """
        if self.spots is None:
            raise ValueError("The mixture has no gene heads, so it can't embed counts.")
        return _mix(self.spots(counts), self.router(features))

    def embed(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `forward` for any number of rows, in turns whose memory is bounded."""
        rows = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        with torch.inference_mode():
            made = [self(rows[start : start + _ROWS_AT_ONCE]) for start in range(0, max(len(rows), 1), _ROWS_AT_ONCE)]
        embeddings, weights = (torch.cat([pair[place] for pair in made]).numpy() for place in (0, 1))
        return embeddings, weights


def _mix(embedded: Tensor, weights: Tensor) -> Tensor:
    """Sum (experts, n, width) over the experts by weights (n, experts); no matrix product, as in `Router`."""
    return torch.sum(embedded * weights.t()[:, :, None], dim=0)


class SpadeTower(nn.Module):
    """H&E tiles to embeddings and expert weights: encoder, routing and experts in one."""

    def __init__(self, encoder: nn.Module, mixture: Mixture, *, takes: int, tile: int | None = None) -> None:
        """Join encoder and mixture.

        Args:
            encoder: (n, takes, takes, 3) tiles, uint8 or as float32, to (n, features) float32.
            mixture: What follows.
            takes: Side of the tiles that the encoder takes, in pixels.
            tile: Side of an incoming tile, whose middle the encoder is given; None for `takes`.

        Raises:
            ValueError: Incoming tiles are smaller than the encoder's.
        """
        super().__init__()
        self.encoder = encoder
        self.mixture = mixture
        self.tile = takes if tile is None else tile
        self._corner, self._takes = margin(self.tile, takes), takes
        self.train(encoder.training)

    @property
    def dimension(self) -> int:
        """Columns of the output."""
        return self.mixture.config.width + self.mixture.config.experts

    def forward(self, tiles: Tensor) -> Tensor:
        """Map (n, tile, tile, 3) uint8 tiles to (n, width + experts) float32: embedding, then expert weights."""
        if self.tile != self._takes:
            kept = slice(self._corner, self._corner + self._takes)
            # As floats, since TensorRT takes uint8 in and does nothing with it but convert.
            tiles = tiles.to(torch.float32)[:, kept, kept]
        return torch.cat(self.mixture(self.encoder(tiles)), dim=1)


def margin(tile: int, takes: int) -> int:
    """Pixels before the middle `takes` pixels of `tile`; where the rest is odd, one less than behind them.

    Raises:
        ValueError: There are not so many.
    """
    if takes > tile:
        raise ValueError(f"The encoder takes tiles of {takes} pixels, more than the {tile} that come in.")
    return (tile - takes) // 2
