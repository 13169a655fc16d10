"""The change of every marker over some tiles, with what spatial blocks say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .blocks import Blocks, sums_by_block
from .statistics import LEAST_UNITS, benjamini_hochberg, bootstrap_interval, paired_effect, sign_flip, wilcoxon

_ROUNDING: Final = 1e-9
"""A difference of prevalence below this is a sum's rounding, and no change."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Changes:
    """The change of every marker over some tiles; all (m,), NaN where nothing can be said.

    Attributes:
        before: Mean prevalence with the original notes.
        after: With the edited notes.
        difference: Mean of after - before over the tiles that have both.
        low: Lower end of its interval, by bootstrap over blocks.
        high: Upper end.
        effect: d_z over blocks.
        p: By flipping the signs of blocks.
        p_wilcoxon: Wilcoxon's signed-rank test over blocks.
        tiles: int64, tiles that have both.
        blocks: int64, blocks behind the statistics.
    """

    before: Floats
    after: Floats
    difference: Floats
    low: Floats
    high: Floats
    effect: Floats
    p: Floats
    p_wilcoxon: Floats
    tiles: NDArray[np.int64]
    blocks: NDArray[np.int64]


def describe_changes(
    before: Floats,
    after: Floats,
    blocks: Blocks,
    *,
    rows: NDArray[np.bool_] | None = None,
    least: int = 1,
) -> Changes:
    """The change over all tiles, or over some; see `Changes`.

    Args:
        before: (n, m) values by tile.
        after: (n, m).
        blocks: Units of the statistics, of the same tiles.
        rows: (n,) tiles that count; all by default.
        least: Tiles that a block needs for a marker.
    """
    difference = change_of(before, after)
    known = np.isfinite(difference)
    if rows is not None:
        known &= rows[:, None]
    difference = np.where(known, difference, np.nan)
    sums, numbers = sums_by_block(difference, blocks)
    enough = numbers >= least
    sums, numbers = np.where(enough, sums, 0.0), np.where(enough, numbers, 0.0)
    units = np.divide(sums, numbers, out=np.full_like(sums, np.nan), where=enough & (numbers > 0))
    low, high = bootstrap_interval(sums, numbers)
    count = np.isfinite(units).sum(axis=0)
    tested = count >= LEAST_UNITS

    def over_units(measure: Callable[[Floats], float]) -> Floats:
        return np.array([measure(column) if ok else np.nan for column, ok in zip(units.T, tested, strict=True)], float)

    return Changes(
        before=column_means(np.where(known, before, np.nan)),
        after=column_means(np.where(known, after, np.nan)),
        difference=column_means(difference),
        low=low,
        high=high,
        effect=over_units(paired_effect),
        p=over_units(sign_flip),
        p_wilcoxon=over_units(wilcoxon),
        tiles=known.sum(axis=0),
        blocks=count,
    )


def joint_q(parts: Sequence[Changes]) -> Floats:
    """(parts, m) q-values over all parts and markers together."""
    p = np.stack([part.p for part in parts])
    return benjamini_hochberg(p.ravel()).reshape(p.shape)


def change_of(before: Floats, after: Floats) -> Floats:
    """After less before; what is a sum's rounding is 0."""
    difference = after - before
    difference[np.abs(difference) < _ROUNDING] = 0.0
    return np.asarray(difference, np.float64)


def column_means(values: Floats) -> Floats:
    """Mean of each column over what is known."""
    known = np.isfinite(values)
    number = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    means: Floats = np.divide(total, number, out=np.full(values.shape[1], np.nan), where=number > 0)
    return means
