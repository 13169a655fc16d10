"""A slide's risk among the training patients of a survival head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..report.schema import Risk, SurvivalAt
from .head_graph import HeadOutput
from .heads import Head
from .survival import RESAMPLES, Cohort, ends, fit_cox, mid_percentile, survival_at

MONTHS = (12.0, 36.0, 60.0)
_SLIDE_RESAMPLES = 100
"""How often the slide's blocks are drawn anew; each runs the head once."""

Rescore = Callable[[NDArray[np.int64]], float]
"""The head's score of some rows of the slide's tiles."""


def place_risk(head: Head, output: HeadOutput, rescore: Rescore, blocks: NDArray[np.int64], coverage: float) -> Risk:
    """Rank a slide's score, with an interval, and read survival off the training patients' follow-up.

    The interval of the percentile comes from drawing anew both the training patients and the slide's blocks of tiles:
    it says how far the rank rests on who was in the cohort and on which tissue was in the section.
    """
    cases, score = head.cases, float(output.scores[0, 0])
    cohort = Cohort(cases.scores[:, 0], cases.months, cases.events)
    percentile = mid_percentile(cohort.score, score)
    low, high = ends(_resampled_percentiles(cohort.score, rescore, blocks), coverage)
    return Risk(
        score=score,
        percentile=percentile,
        low=min(low, percentile),
        high=max(high, percentile),
        group="low" if percentile < 100 / 3 else "middle" if percentile < 200 / 3 else "high",
        hazard_ratio=_hazard_ratio(cohort, score),
        survival=_survival(cohort, score, coverage),
    )


def _resampled_percentiles(
    reference: NDArray[np.float64], rescore: Rescore, blocks: NDArray[np.int64]
) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    scores = [rescore(_draw_blocks(blocks, rng)) for _ in range(_SLIDE_RESAMPLES)]
    size = len(reference)
    return np.array(
        [mid_percentile(reference[rng.integers(0, size, size)], scores[i % len(scores)]) for i in range(RESAMPLES)]
    )


def _draw_blocks(blocks: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of as many blocks as there are, drawn with replacement."""
    number = int(blocks.max()) + 1
    return np.concatenate([np.flatnonzero(blocks == block) for block in rng.integers(0, number, number)])


def _hazard_ratio(cohort: Cohort, score: float) -> float | None:
    if not cohort.event.any():
        return None
    model = fit_cox(cohort)
    return float(np.exp(model.slope * (score - model.centre)))


def _survival(cohort: Cohort, score: float, coverage: float) -> list[SurvivalAt]:
    longest = float(cohort.months.max())
    followed = tuple(month for month in MONTHS if month <= longest and cohort.event.any())
    known = dict(zip(followed, survival_at(cohort, score, followed, coverage) if followed else (), strict=True))
    out = []
    for month in MONTHS:
        said = known.get(month)
        out.append(
            SurvivalAt(
                months=month,
                probability=None if said is None else said.value,
                low=None if said is None else said.low,
                high=None if said is None else said.high,
            )
        )
    return out
