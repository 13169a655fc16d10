"""Which weights are trained, and how fast: whole towers from nothing, or the last layers of a released model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ..model import Towers

UNDECAYED = ("marker_table.vectors", "words", "positions", "segment", "summary", "class_token")
"""Tables and tokens: they are looked up, not multiplied, so that weight decay would only shrink what is rare."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Peak learning rates (the published ones by default: Haiku, 2605.00925, config of the public code).

    Attributes:
        text: Of the text encoder.
        mif: Of the mIF encoder, where it is trained.
        he: Of the H&E encoder.
        heads: Of the projection heads.
        temperature: Of log(1/τ), where it is trained.
    """

    text: float = 5e-6
    mif: float = 1e-5
    he: float = 1e-5
    heads: float = 1e-4
    temperature: float = 1e-5

    @classmethod
    def same(cls, rate: float) -> Rates:
        """One rate for everything, as towers take that start from nothing."""
        return cls(rate, rate, rate, rate, rate)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What of each encoder is trained; the projection heads always are.

    Attributes:
        he_layers: Last layers of the H&E encoder that are trained, with its vision head; None: the whole encoder.
        text_layers: Last layers of the text encoder that are trained; None: the whole encoder.
        mif: Whether the mIF encoder is trained.
    """

    he_layers: int | None = None
    text_layers: int | None = None
    mif: bool = True


PUBLISHED_TUNING = Tuning(he_layers=2, text_layers=2, mif=False)
"""Haiku: MUSK's layers 22 and 23 with its vision head, BiomedBERT's layers 10 and 11, the mIF encoder frozen."""


def freeze(towers: Towers, tuning: Tuning) -> None:
    """Mark what is trained (`requires_grad`) and what is not."""
    for name, parameter in _named(towers):
        parameter.requires_grad_(_is_tuned(name, towers, tuning))


def set_training(towers: Towers) -> None:
    """Put the towers in training, but leave running statistics of what is frozen as they are."""
    towers.train(True)
    for tower in towers.modules().values():
        for module in tower.modules():
            own = list(module.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                module.train(False)


def parameter_groups(towers: Towers, rates: Rates, decay: float) -> list[dict[str, object]]:
    """The trained parameters as an optimiser takes them: by rate, and apart what does not decay.

    Args:
        towers: Towers, already frozen in part.
        rates: Peak learning rates; each group's is in `peak`.
        decay: Weight decay of matrices and kernels (not of biases, norms, tables and tokens).
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in _named(towers):
        if parameter.requires_grad:
            tower, _, rest = name.partition(".")
            kind = "heads" if rest.startswith("head.") else tower
            free = parameter.ndim < 2 or any(f".{word}" in name for word in UNDECAYED)
            groups.setdefault((kind, free), []).append(parameter)
    return [
        {
            "params": own,
            "peak": getattr(rates, kind),
            "lr": getattr(rates, kind),
            "weight_decay": 0.0 if free else decay,
        }
        for (kind, free), own in groups.items()
    ]


def _named(towers: Towers) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter as tower.name, such as he.encoder.layers.23.rise.weight."""
    for tower, module in towers.modules().items():
        yield from ((f"{tower}.{name}", parameter) for name, parameter in module.named_parameters())


def _is_tuned(name: str, towers: Towers, tuning: Tuning) -> bool:
    tower, part, *rest = name.split(".")
    if part == "head":
        return True
    if tower == "mif":
        return tuning.mif
    tuned = tuning.he_layers if tower == "he" else tuning.text_layers
    if tuned is None:
        return True
    if rest[0] == "vision_head":
        return tuned > 0
    depth = len(towers.modules()[tower].encoder.layers)  # type: ignore[union-attr, arg-type]
    # The number is compared whole: "layers.1" is no part of "layers.10".
    return rest[0] == "layers" and int(rest[1]) >= depth - tuned
