"""Random edits: how much the answer moves when the notes say something else, whatever that is.

A change that the edit in question shares with arbitrary edits says that the text moves the search, not that the edited
fact matters. So as many fields as were edited are drawn among the notes' own, and each gets the value of some other
patient of the atlas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .edits import Pairs, same_key

RANDOM_EDITS: Final = 100
_SEED: Final = 42
_TRIES: Final = 20
_ROUNDING: Final = 1e-9
"""Changes of prevalence this close are equal."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NullDistribution:
    """What random edits did.

    Attributes:
        fields: Fields edited at once.
        tiles: Tiles over which means were taken, evenly chosen; the real edit's own mean is over the same.
        real: (m,) the real edit's mean change over these tiles.
        drawn: (r, m) that of each random edit.
    """

    fields: int
    tiles: int
    real: Floats
    drawn: Floats

    @property
    def p(self) -> Floats:
        """(m,) share of the edits, the real one counted, that moved the marker as far as the real one; NaN unknown."""
        return share_reached(self.real, self.drawn)

    @property
    def overall_p(self) -> float:
        """The same for the mean absolute change over the markers."""
        return overall_share_reached(self.real, self.drawn)


def share_reached(real: Floats, drawn: Floats) -> Floats:
    """How often an edit moves a marker as far as the real one.

    Args:
        real: (m,) change of each marker.
        drawn: (r, m) that of each random edit; where it is not known, the edit says nothing of the marker.

    Returns:
        (m,) share of the edits that say something, the real one counted; NaN where there is none, or the real change is
        not known.
    """
    known = np.isfinite(drawn)
    reached = (known & (np.abs(drawn) + _ROUNDING >= np.abs(real))).sum(axis=0)
    count = known.sum(axis=0)
    return np.where(np.isfinite(real) & (count > 0), (1 + reached) / (1 + count), np.nan)


def overall_share_reached(real: Floats, drawn: Floats) -> float:
    """The same for the mean absolute change over the markers that both the real edit and the random one know."""
    known = np.isfinite(drawn) & np.isfinite(real)
    said = known.any(axis=1)
    own, other = (np.where(known, np.abs(np.broadcast_to(v, known.shape)), 0)[said].sum(axis=1) for v in (real, drawn))
    markers = known[said].sum(axis=1)
    if not said.any():
        return float("nan")
    return float((1 + np.count_nonzero(other / markers + _ROUNDING >= own / markers)) / (1 + said.sum()))


def random_edits(
    original: Pairs,
    edited: Pairs,
    facts: Mapping[str, Mapping[str, str]],
    *,
    count: int = RANDOM_EDITS,
    seed: int = _SEED,
) -> tuple[Pairs, ...]:
    """Draw different notes with as many fields changed as the real edit changed.

    Args:
        original: The notes' facts.
        edited: The same with the real edit, which is never drawn.
        facts: Facts of the atlas's patients.
        count: How many; fewer where there are not so many different ones.
        seed: Of the draws.
    """
    fields = sum(one != other for one, other in zip(original, edited, strict=True))
    pools = {key: _others(key, value, facts) for key, value in original}
    eligible = [key for key, pool in pools.items() if pool]
    if not eligible:
        return ()
    random = np.random.default_rng(seed)
    drawn: dict[Pairs, None] = {}
    for _ in range(_TRIES * count):
        if len(drawn) == count:
            break
        chosen = random.choice(len(eligible), min(fields, len(eligible)), replace=False)
        values = {eligible[i]: pools[eligible[i]][int(random.integers(len(pools[eligible[i]])))] for i in chosen}
        notes = tuple((key, values.get(key, value)) for key, value in original)
        if notes != edited:
            drawn[notes] = None
    return tuple(drawn)


def _others(key: str, value: str, facts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Other values of a fact, once for each patient who has it: common values are drawn more often."""
    wanted = same_key(key)
    return [
        v
        for own in facts.values()
        for k, v in own.items()
        if same_key(k) == wanted and v.casefold() != value.casefold()
    ]
