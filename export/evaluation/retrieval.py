"""Does a vector of one modality find what belongs to it in another? Exact pairs, and patches of the same label.

Follows Haiku (2605.00925, cross-modal retrieval): cosine, every patch of the cohort as the gallery, exact search. Its
label form lets a patient's own patches be found; here they are left out unless that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Estimate, Resamples, draw_patients, estimate_means
from .ranking import BARRED, CLOSE, CUTS, QueryScores, score_chance, score_lists, score_partners

FIGURES = ("recall", "precision", "f1", "ndcg", "ap")
"""Figures that depend on the length of the list."""

PAIR = "pair"
"""Name of the match in which only the very patch is relevant."""

MODALITIES = ("he", "mif", "text")
"""The notes stand for text: a new slide has no caption. Captions are added where the cohort has them."""

_BLOCK = 4 << 20


@dataclass(frozen=True, slots=True)
class Match:
    """What counts as relevant.

    Attributes:
        name: `PAIR`, or the fact whose value has to be the same.
        codes: (n,) int64; patches with the same code are relevant to each other, -1 to none. For `PAIR` the rows.
        own_patient: Whether a patient's own patches may be found.
    """

    name: str
    codes: NDArray[np.int64]
    own_patient: bool


@dataclass(frozen=True, slots=True)
class RetrievalScore:
    """Retrieval in one direction.

    Attributes:
        query: Modality that asks: he, mif, text or caption.
        gallery: Modality that is searched.
        match: `PAIR`, or the fact whose value has to be the same.
        own_patient: Whether a patient's own patches may be found.
        queries: Queries with something relevant to find.
        size: Entries of the gallery.
        at: Figure (recall, precision, f1, ndcg, ap) → length of the list → mean over the queries.
        mrr: Mean reciprocal rank of the first relevant entry.
        mean_rank: Mean rank of it.
        median_rank: Median rank of it.
        chance: The figures of `at` for a random order.
        chance_mrr: Mean reciprocal rank for a random order.
        chance_rank: Mean rank for a random order.
    """

    query: str
    gallery: str
    match: str
    own_patient: bool
    queries: int
    size: int
    at: Mapping[str, Mapping[int, Estimate]]
    mrr: Estimate
    mean_rank: Estimate
    median_rank: float
    chance: Mapping[str, Mapping[int, float]]
    chance_mrr: float
    chance_rank: float

    @property
    def recall(self) -> dict[int, float]:
        """Recall by length of the list."""
        return {k: one.value for k, one in self.at["recall"].items()}


def score_retrieval(
    vectors: Mapping[str, NDArray[np.float32]],
    patients: NDArray[np.str_],
    labels: Mapping[str, NDArray[np.str_]] | None = None,
    *,
    published: bool = False,
    rounds: int | None = None,
) -> tuple[RetrievalScore, ...]:
    """Score every ordered pair of modalities, for exact pairs and for each kind of label.

    Memory stays flat: queries go through in blocks.

    Args:
        vectors: (n, d) unit vectors by modality; row i of all belongs to the same patch.
        patients: (n,) whose patch each is.
        labels: Fact → (n,) values, '' where not known.
        published: For labels, let a patient's own patches be found, as the published code does.
        rounds: Draws of the bootstrap; None takes the usual number.

    Returns:
        For each direction, in the order of the names, the pair and then the labels.

    Raises:
        CohortError: There is one patient alone.
    """
    resamples = draw_patients(patients) if rounds is None else draw_patients(patients, rounds)
    matches = [Match(PAIR, np.arange(len(patients)), own_patient=True)]
    for name, values in (labels or {}).items():
        matches.append(Match(name, _codes(values), own_patient=published))
    out: list[RetrievalScore] = []
    for query, gallery in permutations(vectors, 2):
        if {query, gallery} != {"text", "caption"}:
            found = rank_direction(vectors[query], vectors[gallery], matches, resamples.groups)
            out += [_summarise(query, gallery, *each, resamples) for each in zip(matches, found, strict=True)]
    return tuple(out)


def rank_direction(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    matches: Sequence[Match],
    owners: NDArray[np.int64],
) -> tuple[QueryScores, ...]:
    """Rank the gallery for every query, block by block, once for all matches.

    Args:
        query: (n, d) unit vectors.
        gallery: (n, d) unit vectors of the same patches.
        matches: What counts as relevant.
        owners: (n,) code of each patch's patient.
    """
    blocks: list[list[QueryScores]] = [[] for _ in matches]
    step = max(1, _BLOCK // max(1, len(gallery)))
    for start in range(0, len(query), step):
        rows = slice(start, start + step)
        cosines = query[rows] @ gallery.T
        own = owners[rows, None] == owners[None]
        for match, done in zip(matches, blocks, strict=True):
            if match.name == PAIR:
                done.append(score_partners(cosines, match.codes[rows]))
                continue
            relevant = (match.codes[rows, None] == match.codes[None]) & (match.codes[rows, None] >= 0)
            scores = cosines
            if not match.own_patient:
                relevant &= ~own
                scores = np.where(own, BARRED, cosines)
            done.append(score_lists(scores, relevant))
    return tuple(_join(done) for done in blocks)


def recall_at(query: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> float:
    """Expected share of queries whose partner (the same row) is among the k most similar.

    Entries as similar as the partner are ordered by chance: with b better ones and t that tie, the partner counted, it
    is among the first k with probability clip((k − b) / t, 0, 1).
    """
    cosines = query @ gallery.T
    own = np.diagonal(cosines)[:, None]
    better = (cosines > own + CLOSE).sum(axis=1)
    ties = (np.abs(cosines - own) <= CLOSE).sum(axis=1)
    return float(np.clip((k - better) / ties, 0, 1).mean())


def _summarise(query: str, gallery: str, match: Match, found: QueryScores, resamples: Resamples) -> RetrievalScore:
    """Means over the queries, with intervals and with what chance would give."""
    chance = _chance(match, resamples.groups)
    known = np.isfinite(found.rank)
    at = {name: dict(zip(CUTS, estimate_means(getattr(found, name), resamples), strict=True)) for name in FIGURES}
    mrr, mean_rank = estimate_means(np.stack([found.reciprocal, found.rank], axis=1), resamples)
    by_chance = {name: dict(zip(CUTS, _mean(getattr(chance, name)).tolist(), strict=True)) for name in FIGURES}
    return RetrievalScore(
        query=query,
        gallery=gallery,
        match=match.name,
        own_patient=match.own_patient,
        queries=int(known.sum()),
        size=len(match.codes),
        at=at,
        mrr=mrr,
        mean_rank=mean_rank,
        median_rank=float(np.median(found.rank[known])) if known.any() else float("nan"),
        chance=by_chance,
        chance_mrr=float(_mean(chance.reciprocal[:, None])[0]),
        chance_rank=float(_mean(chance.rank[:, None])[0]),
    )


def _chance(match: Match, owners: NDArray[np.int64]) -> QueryScores:
    """What a random order would give each query."""
    count = len(owners)
    alike = np.bincount(match.codes[match.codes >= 0], minlength=int(match.codes.max(initial=-1)) + 1)
    total = np.where(match.codes >= 0, alike[np.maximum(match.codes, 0)] if len(alike) else 0, 0)
    entries = np.full(count, count)
    if not match.own_patient:
        _, back, size = np.unique(
            np.stack([owners, match.codes], axis=1), axis=0, return_inverse=True, return_counts=True
        )
        total = np.where(match.codes >= 0, total - size[np.asarray(back).ravel()], 0)
        entries = count - np.bincount(owners)[owners]
    return score_chance(total, entries)


def _codes(values: NDArray[np.str_]) -> NDArray[np.int64]:
    """A number for each label; -1 for the empty one."""
    _, codes = np.unique(values, return_inverse=True)
    return np.where(values == "", -1, np.asarray(codes).ravel())


def _join(parts: Sequence[QueryScores]) -> QueryScores:
    return QueryScores(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(QueryScores)}
    )


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Column means without the NaN; NaN for a column of nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
