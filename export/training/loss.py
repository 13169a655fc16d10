"""The tri-modal contrastive loss (Haiku, 2605.00925, "pairwise_clip"), with weights for patches of the same region."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.heads import unit

TEMPERATURE = 0.07
"""τ of the published model, held constant in training."""

EXCLUDED = -1e9
"""Added to a logit that takes no part in the softmax."""


def pair_loss(first: Tensor, second: Tensor, weight: Tensor | None = None, temperature: float = TEMPERATURE) -> Tensor:
    """Symmetric InfoNCE of two modalities: row i of one belongs to row i of the other.

    Args:
        first: (n, d) vectors, not yet normalised.
        second: (n, d), of the same n samples.
        weight: (n, n) from `region_logits`, added to the logits; None where all pairs count alike.
        temperature: τ; logits are cosines divided by it.

    Returns:
        Scalar: ½ [CE(A·Bᵀ/τ) + CE(B·Aᵀ/τ)] with the diagonal as labels.
    """
    logits = unit(first) @ unit(second).t() / temperature
    if weight is not None:
        logits = logits + weight
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


def region_logits(regions: Tensor, weight: float) -> Tensor:
    """What to add to logits so that other samples of the same region weigh `weight` in the softmax's denominator.

    Args:
        regions: (n,) integers, one a region.
        weight: 1 changes nothing; 0 takes the pairs out.

    Returns:
        (n, n) float32: log(weight) off the diagonal where the regions are the same, else 0.
    """
    same = (regions[:, None] == regions[None, :]) & ~torch.eye(len(regions), dtype=torch.bool, device=regions.device)
    value = math.log(weight) if weight > 0 else EXCLUDED
    return same.to(torch.float32) * value


def pairwise_clip(
    he: Tensor, mif: Tensor, text: Tensor, regions: Tensor | None = None, temperature: float = TEMPERATURE
) -> Tensor:
    """Mean of `pair_loss` over the three pairs of modalities.

    The notes are the same all over a region: there the right text can't be told from its neighbours', so other patches
    of the same region take no part in the pairs with text. Between H&E and mIF they are the hardest negatives and stay.

    Args:
        he: (n, d) H&E vectors, not yet normalised.
        mif: (n, d) mIF vectors.
        text: (n, d) text vectors.
        regions: (n,) integers, one a region; None where every sample is of a region of its own.
        temperature: τ.

    Returns:
        Scalar.
    """
    apart = None if regions is None else region_logits(regions, 0.0)
    losses = (
        pair_loss(mif, text, apart, temperature),
        pair_loss(mif, he, None, temperature),
        pair_loss(text, he, apart, temperature),
    )
    return torch.stack(losses).mean()
