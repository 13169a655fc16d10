"""Settings of the networks, and the small grids among which the inner loop chooses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from haiku_edge.runtime.errors import UsageError

Scale = Literal["none", "unit", "standard"]
Kind = Literal["attention", "gated", "transmil"]

BINS: Final = 4
"""Stretches of time of the discrete survival heads (SPADE, 2506.21857, downstream)."""


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
        network: Which network: attention (Haiku's), gated (ABMIL, SPADE's), or transmil.
        bins: Stretches of time whose hazards a survival head learns; 0 learns by the Cox partial likelihood.
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
    network: Kind = "attention"
    bins: int = 0


@dataclass(frozen=True, slots=True)
class RidgeSettings:
    """A linear layer on the mean of a patient's vectors, standardised, with a penalty on its square.

    Attributes:
        penalty: Half of it times the sum of the squared weights joins the loss of a patient (of an event for survival).
    """

    penalty: float


Settings = MilSettings | RidgeSettings

_SPADE: Final = {
    "abmil": MilSettings(width=128, attention=96, weight_decay=1e-4, scale="standard", network="gated"),
    "abmil-published": MilSettings(
        width=512, attention=384, learning_rate=1e-4, weight_decay=1e-4, scale="standard", network="gated"
    ),
    "transmil": MilSettings(
        width=64, learning_rate=5e-4, weight_decay=1e-4, scale="standard", epochs=30, patience=6, network="transmil"
    ),
}

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
    **{name: (settings,) for name, settings in _SPADE.items()},
    **{f"{name}-hazards": (replace(settings, bins=BINS),) for name, settings in _SPADE.items()},
}
"""The published settings of Haiku's three tasks (2605.00925; where its code states no dropout or weight decay, 0.25 and
1e-4), the grid that is the default here, the linear reference, and the slide heads of SPADE (2506.21857): gated ABMIL
with hidden sizes for small cohorts and as published (512 and 384), TransMIL, and the same with hazards in stretches of
time for survival."""


def preset(name: str) -> tuple[Settings, ...]:
    """The settings of that name: one, or several to choose from.

    Raises:
        UsageError: There is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}. Choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
