"""A state against the layout that it should have: everything that differs, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from haiku_edge.runtime.errors import CheckpointLayoutError

from .layout import MIF, Entry

SHOWN = 5
"""Entries of each kind that a message lists; the counts tell the rest."""

_STAGE_ONE = ("encoder.encoder.", "encoder.patch_summary_token", "encoder.patch_encoder.")


@dataclass(frozen=True, slots=True)
class Differences:
    """What a state has otherwise than its layout, each in the layout's or the alphabet's order.

    Attributes:
        missing: Keys that are not there.
        unexpected: Keys that nothing knows.
        misshapen: One line a tensor: its key, the shape that it has and the one that it should have.
        mistyped: The same for types.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    mistyped: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.missing or self.unexpected or self.misshapen or self.mistyped)

    def describe(self) -> str:
        """The list, one kind a paragraph."""
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.misshapen),
            ("of another type", self.mistyped),
        )
        return "\n".join(_paragraph(kind, lines) for kind, lines in kinds if lines)


def compare_layout(state: Mapping[str, Tensor], layout: Mapping[str, Entry]) -> Differences:
    """Compare keys, shapes and types; no value is read."""
    both = [key for key in layout if key in state]
    return Differences(
        missing=tuple(key for key in layout if key not in state),
        unexpected=tuple(sorted(_printable(key) for key in state if key not in layout)),
        misshapen=tuple(
            f"{key} is {_shape(tuple(state[key].shape))}, not {_shape(layout[key].shape)}"
            for key in both
            if tuple(state[key].shape) != layout[key].shape
        ),
        mistyped=tuple(
            f"{key} is {_dtype(state[key])}, not {layout[key].dtype}"
            for key in both
            if _dtype(state[key]) != layout[key].dtype
        ),
    )


def check_layout(state: Mapping[str, Tensor], layout: Mapping[str, Entry], name: str) -> None:
    """Refuse a state that differs from its layout in anything.

    Raises:
        CheckpointLayoutError: It does; the message lists how.
    """
    differences = compare_layout(state, layout)
    if not differences:
        return
    if not any(key.startswith(MIF) for key in state) and any(key.startswith(_STAGE_ONE) for key in state):
        raise CheckpointLayoutError(
            f"{name} is a checkpoint of the mIF tower alone, from its own first training stage. A bundle needs the "
            "whole model: take the released haiku_state_dict.pt."
        )
    raise CheckpointLayoutError(
        f"{name} does not have the released layout. Of {len(layout):,} tensors that config.json asks for:\n"
        f"{differences.describe()}\n"
        "Nothing was exported. Check that config.json belongs to these weights, and that the download is whole."
    )


def _paragraph(kind: str, lines: tuple[str, ...]) -> str:
    rest = f"\n    and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    return f"  {len(lines):,} {kind}:\n" + "\n".join(f"    {line}" for line in lines[:SHOWN]) + rest


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{side:,}" for side in shape) or "a single number"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _printable(key: str) -> str:
    return ascii(key)[1:-1][:200]
