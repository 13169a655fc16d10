"""The tri-modal contrastive loss (Haiku, 2605.00925, "pairwise_clip")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.heads import unit

TEMPERATURE = 0.07
"""τ of the published model, held constant in training."""

LEAST_TEMPERATURE = 0.001
"""τ never falls below this where it is trained (published)."""


@dataclass(frozen=True, slots=True)
class LossSettings:
    """How samples are compared.

    Attributes:
        temperature: τ; logits are cosines divided by it.
        learn_temperature: Train log(1/τ) too. The published model does not.
        region_weight: Weight, in the softmax denominator, of another sample of the same region. 1 counts it as any
            other (the published configuration), 0 leaves it out.
        notes_region_weight: The same for the pairs with text, or None to use `region_weight`. Notes are the same all
            over a region, so that its samples can't be told apart by them: 0 asks for what can be learned.
        notes_share: Weight of each of the two pairs with text relative to the H&E–mIF pair. Published: 1.
    """

    temperature: float = TEMPERATURE
    learn_temperature: bool = False
    region_weight: float = 1.0
    notes_region_weight: float | None = None
    notes_share: float = 1.0


class ContrastiveLoss(nn.Module):
    """Mean of the symmetric InfoNCE of every pair of modalities."""

    log_scale: Tensor

    def __init__(self, settings: LossSettings) -> None:
        """Hold log(1/τ): a parameter where it is learned, a constant otherwise."""
        super().__init__()
        self.settings = settings
        start = torch.tensor(math.log(1.0 / settings.temperature))
        if settings.learn_temperature:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start)

    def scale(self) -> Tensor:
        """1/τ, at most 1/`LEAST_TEMPERATURE`."""
        return torch.exp(torch.clamp(self.log_scale, max=math.log(1.0 / LEAST_TEMPERATURE)))

    def forward(self, he: Tensor, mif: Tensor, text: Tensor | None, regions: Tensor) -> Tensor:
        """Compare a batch.

        Args:
            he: (n, d) H&E vectors, not yet normalised.
            mif: (n, d) mIF vectors.
            text: (n, d) text vectors, or None for a model of two modalities.
            regions: (n,) int64, equal where two samples are of the same region.

        Returns:
            Scalar.
        """
        own, scale = self.settings, self.scale()
        loss = pair_loss(mif, he, scale, region_weights(regions, own.region_weight))
        if text is None:
            return loss
        notes = own.region_weight if own.notes_region_weight is None else own.notes_region_weight
        weights = region_weights(regions, notes)
        told = pair_loss(mif, text, scale, weights) + pair_loss(text, he, scale, weights)
        return (loss + own.notes_share * told) / (1 + 2 * own.notes_share)


def pair_loss(first: Tensor, second: Tensor, scale: Tensor | float, weights: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of two modalities: row i of one belongs to row i of the other.

    Args:
        first: (n, d) vectors, not yet normalised.
        second: (n, d), of the same n samples.
        scale: 1/τ.
        weights: (n, n) weight of each pair in the softmax denominator, 1 on the diagonal; None: all 1.

    Returns:
        Scalar: ½ [CE(A·Bᵀ/τ) + CE(B·Aᵀ/τ)] with the diagonal as labels.
    """
    logits = unit(first.float()) @ unit(second.float()).t() * scale
    if weights is not None:
        logits = logits + torch.log(weights)
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


def region_weights(regions: Tensor, weight: float) -> Tensor | None:
    """(n, n): `weight` for two different samples of one region, 1 for all else; None where that is 1 everywhere."""
    if weight == 1.0:
        return None
    same = regions[:, None] == regions[None, :]
    own = torch.eye(len(regions), dtype=torch.bool, device=regions.device)
    return torch.where(same & ~own, weight, 1.0)
