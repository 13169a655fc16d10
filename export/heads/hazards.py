"""Survival in stretches of time: a hazard for each, learned by the likelihood (SPADE, 2506.21857, downstream).

The negative log-likelihood is that of Zadeh and Schmid (IEEE TPAMI 43, 2021): who died in a stretch lived through those
before it and met its hazard; who was censored in it lived through it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from .network import BagNetwork


def hazard_edges(months: NDArray[np.float64], events: NDArray[np.bool_], bins: int) -> Tensor:
    """(bins - 1,) float64 months at which a stretch ends: quantiles of the times of death of the training patients."""
    shares = np.arange(1, bins) / bins
    return torch.from_numpy(np.quantile(months[events], shares))


def hazard_loss(scores: Tensor, months: Tensor, events: Tensor, edges: Tensor) -> Tensor:
    """Mean negative log-likelihood of some patients.

    Args:
        scores: (p, bins) logits of the hazards.
        months: (p,) time to the event or to the end of follow-up.
        events: (p,) bool, False where censored.
        edges: (bins - 1,) from `hazard_edges`; a time on an edge belongs to the later stretch.
    """
    own = torch.bucketize(months, edges, right=True)[:, None]
    lived = torch.cumsum(logsigmoid(-scores), dim=1).gather(1, own)[:, 0]
    met = logsigmoid(scores).gather(1, own)[:, 0]
    left = logsigmoid(-scores).gather(1, own)[:, 0]
    return -torch.where(events, lived - left + met, lived).mean()


def hazard_risk(scores: Tensor) -> Tensor:
    """(p, 1) risk, higher is worse: the negative sum of the chances to live through each stretch."""
    return -torch.exp(torch.cumsum(logsigmoid(-scores), dim=1)).sum(dim=1, keepdim=True)


class HazardRisk(BagNetwork):
    """A network that was trained on hazards, as one that tells a risk."""

    def __init__(self, network: BagNetwork) -> None:
        """Take the trained network."""
        super().__init__()
        self.network = network
        self.inputs = network.inputs

    def forward(self, vectors: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BagNetwork`; one output."""
        scores, attention = self.network(vectors, real)
        return hazard_risk(scores), attention
