"""What of a change comes from who is retrieved, and what from within the same group.

A patch's own positivity never changes: in this method every change is a change of evidence. Kitagawa's decomposition
(E. Kitagawa, 1955; Oaxaca and Blinder, 1973, for two groups) says at which level. With p_g the share of the evidence
that group g holds and r_g its prevalence, before and after (primes):

    ν' - ν = Σ (p'_g - p_g) (r_g + r'_g) / 2   composition: other groups are retrieved
           + Σ (r'_g - r_g) (p_g + p'_g) / 2   within: other patches of the same groups

The two parts sum to the difference exactly, whatever the signs of the shares: fused scores may be negative, and then a
group's share may be too. A group that is there on one side only is all composition. Where the shares of a group cancel
out it has no prevalence, and a marker with such a group is not split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..inference.blocks import row_blocks
from .fusion import Ranked
from .prevalence import evidence_shares

Floats = NDArray[np.float64]

_CANCELLED: Final = 1e-9
"""Of a group's shares without their signs: a sum below this part of them is rounding."""


@dataclass(frozen=True, slots=True)
class Composition:
    """One way of grouping the atlas, and what it explains.

    Attributes:
        name: Of the grouping, such as organ.
        labels: Of the g groups.
        before: (g,) share of the evidence, 0 to 1, over all tiles.
        after: (g,) the same with the edited notes.
        between: (m,) part of each marker's change that is composition; NaN where it can't be split.
        within: (m,) the rest; NaN likewise.
    """

    name: str
    labels: tuple[str, ...]
    before: Floats
    after: Floats
    between: Floats
    within: Floats


def decompose(
    positive: NDArray[np.float32], before: Ranked, after: Ranked, name: str, labels: NDArray[np.str_]
) -> Composition:
    """Split every marker's mean change over the tiles by a grouping of the atlas's patches.

    Args:
        positive: (patches, m) float32, 1 or 0, NaN where not measured.
        before: Evidence with the original notes.
        after: Evidence of the same tiles with the edited notes.
        name: Of the grouping.
        labels: (patches,) the group of each patch.
    """
    names, groups = np.unique(labels, return_inverse=True)
    known = _known(positive, before) & _known(positive, after)
    p, r, lost = _group_prevalence(positive, before, groups, len(names), known)
    p_after, r_after, lost_after = _group_prevalence(positive, after, groups, len(names), known)
    one = np.nan_to_num(np.where(np.isnan(r), r_after, r))
    other = np.nan_to_num(np.where(np.isnan(r_after), r, r_after))
    nothing = np.where(known.any(axis=0) & ~lost & ~lost_after, 0.0, np.nan)
    return Composition(
        name=name,
        labels=tuple(map(str, names)),
        before=evidence_by(before, groups, len(names)),
        after=evidence_by(after, groups, len(names)),
        between=((p_after - p) * (one + other) / 2).sum(axis=0) + nothing,
        within=((other - one) * (p + p_after) / 2).sum(axis=0) + nothing,
    )


def evidence_by(ranked: Ranked, groups: NDArray[np.int64], count: int) -> Floats:
    """(count,) share of all tiles' evidence that each group of patches holds, whatever it measured."""
    there = ranked.ids >= 0
    weight = np.where(there, ranked.scores, 0.0).astype(np.float64)
    total = weight.sum(axis=1, keepdims=True)
    shares = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    held = np.bincount(groups[np.maximum(ranked.ids, 0)].ravel(), shares.ravel(), minlength=count)
    return np.asarray(held / max(1, len(ranked.ids)))


def turnover(before: Ranked, after: Ranked) -> tuple[float, float]:
    """How far the evidence changed: the mean Jaccard distance, and the mean share of patches that are new."""
    distances, renewed = [], []
    for one, other in zip(before.ids, after.ids, strict=True):
        first, second = set(one[one >= 0].tolist()), set(other[other >= 0].tolist())
        distances.append(1 - len(first & second) / max(1, len(first | second)))
        renewed.append(len(second - first) / max(1, len(second)))
    return float(np.mean(distances)), float(np.mean(renewed))


def _known(positive: NDArray[np.float32], ranked: Ranked) -> NDArray[np.bool_]:
    known = np.zeros((len(ranked.ids), positive.shape[1]), np.bool_)
    for rows in row_blocks(len(ranked.ids), ranked.ids.shape[1] * positive.shape[1]):
        shares, _ = evidence_shares(positive, Ranked(ranked.ids[rows], ranked.scores[rows]))
        known[rows] = np.isfinite(shares).all(axis=1)
    return known


def _group_prevalence(
    positive: NDArray[np.float32],
    ranked: Ranked,
    groups: NDArray[np.int64],
    count: int,
    known: NDArray[np.bool_],
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Over the tiles where both are known.

    Returns:
        (g, m) mean share of the evidence; (g, m) prevalence in it, NaN where the group holds none; (m,) whether the
        shares of a group cancel out.
    """
    held, hits, size = _by_group(positive, ranked, groups, count, known)
    cancelled = (size > 0) & (np.abs(held) <= _CANCELLED * size)
    there = (size > 0) & ~cancelled
    share = np.where(there, held, 0.0)
    prevalent = np.divide(hits, held, out=np.full_like(held, np.nan), where=there)
    return share, prevalent, np.asarray(cancelled.any(axis=0))


def _by_group(
    positive: NDArray[np.float32],
    ranked: Ranked,
    groups: NDArray[np.int64],
    count: int,
    known: NDArray[np.bool_],
) -> tuple[Floats, Floats, Floats]:
    """(g, m) mean share of the evidence, mean share of it that is positive, and mean share whatever its sign."""
    markers = positive.shape[1]
    held, hits, size = (np.zeros((count, markers)) for _ in range(3))
    for rows in row_blocks(len(ranked.ids), ranked.ids.shape[1] * markers):
        shares, found = evidence_shares(positive, Ranked(ranked.ids[rows], ranked.scores[rows]))
        shares = np.where(known[rows][:, None, :], shares, 0.0)
        own = groups[np.maximum(ranked.ids[rows], 0)].ravel()
        for marker in range(markers):
            part = shares[:, :, marker]
            held[:, marker] += np.bincount(own, part.ravel(), minlength=count)
            hits[:, marker] += np.bincount(own, (part * found[:, :, marker]).ravel(), minlength=count)
            size[:, marker] += np.bincount(own, np.abs(part).ravel(), minlength=count)
    tiles = np.maximum(known.sum(axis=0), 1)
    return held / tiles, hits / tiles, size / tiles
