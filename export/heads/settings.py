"""Settings of the networks, and the small grids among which the inner loop chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from haiku_edge.runtime.errors import UsageError

Scale = Literal["none", "unit", "standard"]


@dataclass(frozen=True, slots=True)
class MilSettings:
    """How one network is built and trained.

    Attributes:
        width: Length of a patch's hidden vector.
        learning_rate: Peak rate of AdamW; falls by a cosine.
        weight_decay: Of AdamW.
        dropout: Share of hidden values dropped in training.
        batch: Patients a step.
        scale: Inputs as they are, divided by their length, or standardised by the training patients.
        epochs: At most so many passes over the patients.
        patience: Passes without a better validation loss before training stops.
        attention: Hidden units of the attention.
    """

    width: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.25
    batch: int = 32
    scale: Scale = "none"
    epochs: int = 50
    patience: int = 10
    attention: int = 128


@dataclass(frozen=True, slots=True)
class RidgeSettings:
    """A linear layer on the mean of a patient's vectors, standardised, with a penalty on its square.

    Attributes:
        penalty: Half of it times the sum of the squared weights joins the loss of a patient (of an event for survival).
    """

    penalty: float


Settings = MilSettings | RidgeSettings

PRESETS: Final[dict[str, tuple[Settings, ...]]] = {
    "melanoma": (MilSettings(width=32, learning_rate=2e-3, weight_decay=1e-4, batch=32),),
    "crc-outcome": (MilSettings(width=64, learning_rate=5e-4, weight_decay=1e-4, batch=8),),
    "crc-survival": (
        MilSettings(width=16, learning_rate=2.5e-4, weight_decay=1e-4, dropout=0.1, batch=32, scale="unit"),
    ),
    "mil": (
        MilSettings(width=16, learning_rate=2e-3, batch=64),
        MilSettings(width=32, learning_rate=1e-3, batch=64),
    ),
    "ridge": tuple(RidgeSettings(penalty) for penalty in (0.1, 1.0, 10.0, 100.0)),
}
"""The published settings of Haiku's three tasks (2605.00925; where its code states no dropout or weight decay, 0.25 and
1e-4), the grid that is the default here, and the linear reference."""


def preset(name: str) -> tuple[Settings, ...]:
    """The settings of that name: one, or several to choose from.

    Raises:
        UsageError: There is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}. Choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
