"""The tri-modal contrastive loss (Haiku, 2605.00925, "pairwise_clip")."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.heads import unit

TEMPERATURE = 0.07
"""τ of the published model, held constant in training."""


def pair_loss(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Symmetric InfoNCE of two modalities: row i of one belongs to row i of the other.

    Args:
        first: (n, d) vectors, not yet normalised.
        second: (n, d), of the same n samples.
        temperature: τ; logits are cosines divided by it.

    Returns:
        Scalar: ½ [CE(A·Bᵀ/τ) + CE(B·Aᵀ/τ)] with the diagonal as labels.
    """
    logits = unit(first) @ unit(second).t() / temperature
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


def pairwise_clip(
    he: Tensor, mif: Tensor, text: Tensor, told: Tensor | None = None, temperature: float = TEMPERATURE
) -> Tensor:
    """Mean of `pair_loss` over the three pairs of modalities.

    The notes are the same all over a region, so the right text can't be told from its neighbours': only one patch of
    each patient takes part in the pairs with text. Between H&E and mIF the other patches of the region are the hardest
    negatives, and all take part.

    Args:
        he: (n, d) H&E vectors, not yet normalised.
        mif: (n, d) mIF vectors.
        text: (p, d) text vectors.
        told: (p,) the patch that each text belongs to; None where every patch has its text.
        temperature: τ.

    Returns:
        Scalar.
    """
    own_he, own_mif = (he, mif) if told is None else (he[told], mif[told])
    losses = (
        pair_loss(own_mif, text, temperature),
        pair_loss(mif, he, temperature),
        pair_loss(text, own_he, temperature),
    )
    return torch.stack(losses).mean()
