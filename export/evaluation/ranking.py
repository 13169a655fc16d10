"""Figures of one result list: recall, precision, F1, nDCG, average precision, reciprocal rank, rank.

Entries as similar as each other are ordered by chance, so that the equal texts of a patient's patches neither help nor
harm; every figure is its expectation over that order. For a group of n ties with r relevant ones behind s entries
with p relevant ones, the i-th of the group is relevant with probability r/n, and its expected precision is
(p + 1 + (i−1)(r−1)/(n−1)) / (s + i) if it is (McSherry and Najork, ECIR 2008). The average precision of the first k is
divided by min(k, relevant), nDCG by the best that k entries could give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CUTS = (1, 5, 10, 20, 50)
"""Lengths of the result list (Haiku, 2605.00925, cross-modal retrieval)."""

CLOSE = 1e-6
"""Cosines nearer than this are a tie: rounding must not rank equal texts."""

BARRED = np.float32(-9.0)
"""Similarity of an entry that may not be found: below every cosine."""

_SPARE = 4
"""The list is first sorted to so many times its length; further only where ties go on."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class QueryScores:
    """Figures of q queries at the cuts; NaN where nothing is relevant to a query.

    Attributes:
        recall: (q, cuts) share of the relevant entries that are among the first k.
        precision: (q, cuts) share of the first k that are relevant.
        f1: (q, cuts) harmonic mean of the two.
        ndcg: (q, cuts) discounted cumulative gain over the best possible.
        ap: (q, cuts) average precision.
        reciprocal: (q,) 1 over the rank of the first relevant entry.
        rank: (q,) rank of the first relevant entry, from 1.
    """

    recall: Floats
    precision: Floats
    f1: Floats
    ndcg: Floats
    ap: Floats
    reciprocal: Floats
    rank: Floats


def score_lists(scores: NDArray[np.float32], relevant: Bools, cuts: tuple[int, ...] = CUTS) -> QueryScores:
    """Score the result lists of q queries against N entries.

    Args:
        scores: (q, N) float32 similarities; `BARRED` where an entry may not be found.
        relevant: (q, N) bool; never where barred.
        cuts: Lengths of the list, ascending.
    """
    total = relevant.sum(axis=1)
    at = [np.full((len(scores), len(cuts)), np.nan) for _ in range(5)]
    out = QueryScores(at[0], at[1], at[2], at[3], at[4], at[0][:, 0].copy(), at[0][:, 0].copy())
    asked = np.flatnonzero(total > 0)
    width = min(scores.shape[1], _SPARE * cuts[-1])
    values, hits = _sorted(scores[asked], relevant[asked], width)
    closed = _closed(values, cuts[-1]) | (width == scores.shape[1])
    _fill(out, asked[closed], values[closed], hits[closed], total, cuts)
    rest = asked[~closed]
    if len(rest):
        _fill(out, rest, *_sorted(scores[rest], relevant[rest], scores.shape[1]), total, cuts)
    far = asked[closed & ~hits[:, : cuts[-1]].any(axis=1)]
    if len(far):
        out.reciprocal[far], out.rank[far] = _first(scores[far], relevant[far])
    return out


def score_partners(
    scores: NDArray[np.float32], partners: NDArray[np.int64], cuts: tuple[int, ...] = CUTS
) -> QueryScores:
    """`score_lists` where one entry alone is relevant to each query, without sorting.

    Args:
        scores: (q, N) float32 similarities.
        partners: (q,) the relevant entry.
        cuts: Lengths of the list.
    """
    own = np.take_along_axis(scores, partners[:, None], axis=1)
    better = (scores > own + CLOSE).sum(axis=1)
    last = better + (np.abs(scores - own) <= CLOSE).sum(axis=1)
    ties = last - better
    places = np.arange(1, scores.shape[1] + 1)
    gain, harmonic = (np.concatenate([[0.0], np.cumsum(1 / part)]) for part in (np.log2(places + 1), places))
    recall, ndcg, ap = (np.empty((len(scores), len(cuts))) for _ in range(3))
    for column, k in enumerate(cuts):
        first, end = np.minimum(better, k), np.minimum(last, k)
        recall[:, column] = (end - first) / ties
        ndcg[:, column] = (gain[end] - gain[first]) / ties
        ap[:, column] = (harmonic[end] - harmonic[first]) / ties
    lengths = np.array(cuts)
    return QueryScores(
        recall,
        recall / lengths,
        2 * recall / (lengths + 1),
        ndcg,
        ap,
        (harmonic[last] - harmonic[better]) / ties,
        better + (ties + 1) / 2,
    )


def score_chance(total: NDArray[np.int64], entries: NDArray[np.int64], cuts: tuple[int, ...] = CUTS) -> QueryScores:
    """The same figures for a random order, in which all entries tie.

    Args:
        total: (q,) relevant entries of each query.
        entries: (q,) entries that may be found.
        cuts: Lengths of the list.
    """
    pairs, back = np.unique(np.stack([total, entries], axis=1), axis=0, return_inverse=True)
    rows = []
    for relevant, size in pairs.tolist():
        hits = np.zeros((1, max(size, 1)), np.bool_)
        hits[0, :relevant] = True
        rows.append(score_lists(np.zeros(hits.shape, np.float32), hits, cuts))
    back = np.asarray(back).ravel()
    return QueryScores(
        *(
            np.concatenate([getattr(row, name) for row in rows])[back]
            for name in ("recall", "precision", "f1", "ndcg", "ap", "reciprocal", "rank")
        )
    )


def _sorted(scores: NDArray[np.float32], relevant: Bools, width: int) -> tuple[NDArray[np.float32], Bools]:
    """(q, width) best similarities in descending order, and which of them are relevant."""
    if width < scores.shape[1]:
        top = np.argpartition(scores, scores.shape[1] - width, axis=1)[:, scores.shape[1] - width :]
        scores, relevant = np.take_along_axis(scores, top, 1), np.take_along_axis(relevant, top, 1)
    order = np.argsort(-scores, axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(relevant, order, 1)


def _closed(values: NDArray[np.float32], deepest: int) -> Bools:
    """(q,) whether the ties at the last place that counts end within the list."""
    gaps = values[:, deepest - 1 : -1] - values[:, deepest:] > CLOSE
    return np.asarray(gaps.any(axis=1))


def _fill(
    out: QueryScores,
    rows: NDArray[np.int64],
    values: NDArray[np.float32],
    hits: Bools,
    total: NDArray[np.int64],
    cuts: tuple[int, ...],
) -> None:
    """Write the figures of some queries."""
    first, ties, relevant, before = _groups(values, hits)
    places = np.arange(1, values.shape[1] + 1)
    share = relevant / ties
    among = (places - 1 - first) * (relevant - 1) / np.maximum(ties - 1, 1)
    precision = share * (before + 1 + among) / places
    discount = 1 / np.log2(places + 1)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(1, cuts[-1] + 1) + 1))])
    known = total[rows]
    for column, k in enumerate(cuts):
        found = share[:, :k].sum(axis=1)
        best = np.minimum(k, known)
        out.recall[rows, column] = found / known
        out.precision[rows, column] = found / k
        out.f1[rows, column] = 2 * found / (k + known)
        out.ndcg[rows, column] = share[:, :k] @ discount[:k] / ideal[best]
        out.ap[rows, column] = precision[:, :k].sum(axis=1) / best
    found_at = hits.argmax(axis=1)[:, None]
    better, size, right = (np.take_along_axis(part, found_at, axis=1)[:, 0] for part in (first, ties, relevant))
    out.rank[rows] = better + (size + 1) / (right + 1)
    out.reciprocal[rows] = _reciprocal(better, size, right)


def _groups(
    values: NDArray[np.float32], hits: Bools
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """At each place, of its group of ties: first place, size, relevant ones, relevant ones before it."""
    count, width = values.shape
    place = np.broadcast_to(np.arange(width), values.shape)
    fresh = np.ones(values.shape, np.bool_)
    fresh[:, 1:] = values[:, :-1] - values[:, 1:] > CLOSE
    group = (np.cumsum(fresh, axis=1) - 1 + width * np.arange(count)[:, None]).ravel()
    ties = np.bincount(group, minlength=count * width)[group].reshape(values.shape)
    right = np.bincount(group[hits.ravel()], minlength=count * width)[group].reshape(values.shape)
    first = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
    earlier: NDArray[np.int64] = np.cumsum(hits, axis=1) - hits
    before = np.maximum.accumulate(np.where(fresh, earlier, 0), axis=1)
    return first, ties, right, before


def _first(scores: NDArray[np.float32], relevant: Bools) -> tuple[Floats, Floats]:
    """(q,) expected reciprocal and rank of the first relevant entry, wherever it stands."""
    best = np.where(relevant, scores, BARRED).max(axis=1)[:, None]
    better = (scores > best + CLOSE).sum(axis=1)
    tie = np.abs(scores - best) <= CLOSE
    ties, right = tie.sum(axis=1), (tie & relevant).sum(axis=1)
    return _reciprocal(better, ties, right), better + (ties + 1) / (right + 1)


def _reciprocal(better: NDArray[np.int64], ties: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
    """Expected 1 / (better + J), J the place of the first of `right` relevant ones among `ties` in random order."""
    chance = right / ties
    expected = chance / (better + 1)
    going = np.flatnonzero(ties > right)
    for place in range(1, int(ties.max(initial=1))):
        left = ties[going] - place
        chance[going] *= np.maximum(left - right[going] + 1, 0) / np.maximum(left, 1)
        expected[going] += chance[going] / (better[going] + place + 1)
        going = going[ties[going] - right[going] > place]
        if not len(going):
            break
    return np.asarray(expected)
