"""The attention MIL network, and its export-friendly ensemble."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .settings import MilSettings, Scale

_LEAST_LENGTH = 1e-6


class Inputs(nn.Module):
    """Brings vectors to the scale that the network was trained on."""

    mean: Tensor
    factor: Tensor

    def __init__(self, scale: Scale, vectors: NDArray[np.float32]) -> None:
        """Take the scale from the training patients' vectors, (n, d) float32."""
        super().__init__()
        self.scale = scale
        known = np.ma.masked_invalid(vectors.astype(np.float64))
        self.fill = np.asarray(known.mean(axis=0).filled(0), np.float32)
        deviation = np.asarray(known.std(axis=0).filled(0), np.float32)
        self.register_buffer("mean", torch.from_numpy(self.fill.copy()))
        self.register_buffer("factor", torch.from_numpy(1 / np.where(deviation > _LEAST_LENGTH, deviation, 1)))

    def complete(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put the training mean where something was not measured."""
        return np.where(np.isnan(vectors), self.fill, vectors)

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        if self.scale == "unit":
            return vectors / torch.sqrt((vectors * vectors).sum(dim=-1, keepdim=True) + _LEAST_LENGTH**2)
        if self.scale == "standard":
            return (vectors - self.mean) * self.factor
        return vectors


class BagNetwork(nn.Module, ABC):
    """A network that scores patients from the vectors of their patches."""

    inputs: Inputs

    @abstractmethod
    def forward(self, vectors: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score patients.

        Args:
            vectors: (b, n, d) float32.
            real: (b, n) bool, False where a place is only padding; None where all are real.

        Returns:
            (b, outputs) scores and (b, n) attention, which sums to 1.
        """


class MeanRidge(BagNetwork):
    """One linear layer on the mean of a patient's vectors: every patch has the same attention."""

    def __init__(self, inputs: Inputs, dimension: int, outputs: int) -> None:
        """Make it with weights of 0."""
        super().__init__()
        self.inputs = inputs
        self.head = nn.Linear(dimension, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, vectors: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BagNetwork`."""
        scaled = self.inputs(vectors)
        attention = _softmax(scaled[..., 0] * 0.0, real)
        return self.head((attention.unsqueeze(-1) * scaled).sum(dim=-2)), attention


class AttentionMil(BagNetwork):
    """Patches → one score a patient, by attention (Haiku, 2605.00925, MIL; Ilse and others, 1802.04712, without gate).

    Linear → GELU → Dropout → LayerNorm → Linear → GELU → LayerNorm for each patch; attention Linear → tanh → Linear and
    a softmax over the patches; Linear → GELU → Dropout → Linear on their weighted mean.
    """

    def __init__(self, inputs: Inputs, dimension: int, outputs: int, settings: MilSettings) -> None:
        """Make it with random weights."""
        super().__init__()
        width = settings.width
        self.inputs = inputs
        self.embed = nn.Sequential(
            nn.Linear(dimension, width),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.LayerNorm(width),
        )
        self.attend = nn.Sequential(nn.Linear(width, settings.attention), nn.Tanh(), nn.Linear(settings.attention, 1))
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(settings.dropout), nn.Linear(width, outputs)
        )

    def forward(self, vectors: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BagNetwork`."""
        hidden = self.embed(self.inputs(vectors))
        attention = _softmax(self.attend(hidden).squeeze(-1), real)
        pooled = (attention.unsqueeze(-1) * hidden).sum(dim=-2)
        return self.head(pooled), attention


class GatedMil(BagNetwork):
    """Patches → one score a patient, by gated attention (Ilse and others, 1802.04712; SPADE, 2506.21857, downstream).

    Linear → ReLU → Dropout for each patch; attention is a Linear on tanh(Linear) × sigmoid(Linear), each with dropout,
    and a softmax over the patches; Linear on their weighted mean.
    """

    def __init__(self, inputs: Inputs, dimension: int, outputs: int, settings: MilSettings) -> None:
        """Make it with random weights."""
        super().__init__()
        width, hidden, dropout = settings.width, settings.attention, settings.dropout
        self.inputs = inputs
        self.embed = nn.Sequential(nn.Linear(dimension, width), nn.ReLU(), nn.Dropout(dropout))
        self.content = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(width, hidden), nn.Sigmoid(), nn.Dropout(dropout))
        self.attend = nn.Linear(hidden, 1)
        self.head = nn.Linear(width, outputs)

    def forward(self, vectors: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BagNetwork`."""
        hidden = self.embed(self.inputs(vectors))
        attention = _softmax(self.attend(self.content(hidden) * self.gate(hidden)).squeeze(-1), real)
        return self.head((attention.unsqueeze(-1) * hidden).sum(dim=-2)), attention


def _softmax(logits: Tensor, real: Tensor | None) -> Tensor:
    """Softmax over the patches; padding gets nothing."""
    return torch.softmax(logits if real is None else logits.masked_fill(~real, -torch.inf), dim=-1)


class HeadEnsemble(nn.Module):
    """Several networks as one: the mean of their scores, shifted, and of their attention."""

    shift: Tensor

    def __init__(self, members: Sequence[BagNetwork], shift: NDArray[np.float32]) -> None:
        """Take trained networks and what is taken from the mean score, (outputs,) float32."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("shift", torch.from_numpy(np.asarray(shift, np.float32)))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) float32 → (1, outputs) scores and (n,) attention."""
        found = [member(vectors.unsqueeze(0)) for member in self.members]
        scores = torch.stack([score for score, _ in found]).mean(dim=0)
        attention = torch.stack([weight for _, weight in found]).mean(dim=0)
        return scores - self.shift, attention.squeeze(0)


class LinearProbe(nn.Module):
    """Logits of every tile, by one matrix."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Take the matrix (classes, d) and the bias (classes,)."""
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(weight))
        self.register_buffer("bias", torch.from_numpy(bias))

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, d) float32 → (n, classes) logits."""
        return vectors @ self.weight.T + self.bias
