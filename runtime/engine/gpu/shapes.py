"""Which shapes a plan takes, and how a batch is padded to one of few: each new shape costs a GPU a warm-up.

Padding changes no vector. A row depends on no other row; a text's positions with mask 0 are no tokens, and a patch's
channels with marker 0 are no channels, which is what zeros in the padded columns say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...errors import EngineError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

STEP: Final = 8
"""Tokens or channels to whose multiples an input is padded: at most 7 too many, and 25 lengths up to 200."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A range of shapes that a plan was built for.

    Attributes:
        index: Its number in the plan.
        least: Input name → smallest shape.
        most: Input name → largest shape.
    """

    index: int
    least: Shapes
    most: Shapes

    @property
    def rows(self) -> int:
        """Most rows of a batch."""
        return min(shape[0] for shape in self.most.values())

    @property
    def least_rows(self) -> int:
        """Fewest rows of a batch."""
        return max(shape[0] for shape in self.least.values())


@dataclass(frozen=True, slots=True)
class Fit:
    """How a batch goes into a plan.

    Attributes:
        profile: Number of the profile.
        shapes: Input name → the shape that the batch is padded to, in the plan's order of inputs.
    """

    profile: int
    shapes: tuple[tuple[str, Shape], ...]

    @property
    def rows(self) -> int:
        """Rows, with the padded ones."""
        return self.shapes[0][1][0]


def fit(shapes: Shapes, profiles: Sequence[Profile], max_rows: int) -> Fit:
    """Choose the profile and the padded shapes for a batch: the least padding, then the narrowest profile.

    Rows are padded to a power of two, other dynamic dimensions to a multiple of `STEP`, within what the profile allows.

    Args:
        shapes: Input name → shape of the batch, at most `max_rows` rows.
        profiles: What the plan was built for.
        max_rows: Rows for which memory was taken.

    Raises:
        EngineError: No profile takes these shapes.
    """
    fits = [(profile, padded) for profile in profiles if (padded := _pad(shapes, profile, max_rows))]
    if not fits:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise EngineError(
            f"The engine is not built for {given}; it takes at most {_limits(profiles)}. Use --device cuda or --device "
            "cpu, whose engines take any size, or cut the input down."
        )
    profile, padded = min(fits, key=lambda one: (_volume(one[1]), _volume(one[0].most)))
    return Fit(profile.index, tuple(padded.items()))


def rows_at_once(shapes: Shapes, profiles: Sequence[Profile], max_rows: int) -> int:
    """How many rows of a batch may be computed at once: large panels are taken in smaller batches than typical ones.

    Args:
        shapes: Input name → shape of the batch, of any number of rows.
        profiles: What the plan was built for.
        max_rows: Rows for which memory was taken.

    Returns:
        At least 1; `max_rows` where no profile takes such a row, which `fit` then says.
    """
    one = {name: (1, *shape[1:]) for name, shape in shapes.items()}
    return max((min(p.rows, max_rows) for p in profiles if _pad(one, p, max_rows)), default=max_rows)


def largest(profile: Profile, max_rows: int) -> Fit:
    """The largest shapes of a profile with at most so many rows."""
    rows = max(min(profile.rows, max_rows), profile.least_rows)
    return Fit(profile.index, tuple((name, (rows, *shape[1:])) for name, shape in profile.most.items()))


def fill(room: NDArray[Any], given: NDArray[Any]) -> None:
    """Copy a batch into the corner of a larger array: zeros in the new columns, the last row again in the new rows.

    Args:
        room: Where to, at least as large in every dimension.
        given: The batch, of the same number of dimensions.
    """
    if room.shape == given.shape:
        np.copyto(room, given)
        return
    room[...] = 0
    room[tuple(slice(0, size) for size in given.shape)] = given
    if 0 < len(given) < len(room):
        room[len(given) :] = room[len(given) - 1]


def _pad(shapes: Shapes, profile: Profile, max_rows: int) -> dict[str, Shape]:
    """The padded shapes in one profile; empty where they do not fit."""
    padded = {}
    for name, most in profile.most.items():
        ranges = zip(shapes[name], profile.least[name], (min(most[0], max_rows), *most[1:]), strict=True)
        sizes = tuple(_room(axis, *of) for axis, of in enumerate(ranges))
        if any(room < size for room, size in zip(sizes, shapes[name], strict=True)) or sizes[0] > max_rows:
            return {}
        padded[name] = sizes
    return padded


def _room(axis: int, size: int, least: int, most: int) -> int:
    wanted = 1 << max(size - 1, 0).bit_length() if axis == 0 else -(-size // STEP) * STEP
    return max(min(wanted, most), least)


def _volume(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes.values())


def _limits(profiles: Sequence[Profile]) -> str:
    every = (", ".join(f"{name} {shape}" for name, shape in profile.most.items()) for profile in profiles)
    return " or ".join(every)
