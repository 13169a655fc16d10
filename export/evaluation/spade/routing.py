"""What it changes to route a spot to one expert or a few instead of all: measured, on given embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from haiku_edge.runtime.errors import CohortError

from ..bootstrap import Estimate, estimate
from .expression import pose_truth
from .retrieval import Search, find_neighbours, infer
from .spot_cohort import SPADE, SpotCohort, unit_rows

LOW = 1.0
"""Percentile of the cosines that stands for the spots that change most."""


@dataclass(frozen=True, slots=True)
class RoutingDifference:
    """A variant of routing against the judged one.

    Attributes:
        name: The variant.
        cosine: Mean cosine of a spot's two embeddings.
        low: `LOW`th percentile of these.
        same: Share of spots whose embeddings are the same (cosine above 1 - 1e-6).
        shared: Share of the nearest spots of other patients that both find.
        pearson: Change of the mean Pearson over all spots: the variant less the judged one.
    """

    name: str
    cosine: float
    low: float
    same: float
    shared: float
    pearson: Estimate


@dataclass(frozen=True, slots=True)
class RoutingResult:
    """Variants of routing on a cohort.

    Attributes:
        subject: The judged representation, which they are variants of.
        spots: Spots.
        patients: Their patients.
        neighbours: k of the neighbours that are compared.
        variants: One for each.
        learned_from: Representation → how many of the cohort's patients it has learned from.
    """

    subject: str
    spots: int
    patients: int
    neighbours: int
    variants: tuple[RoutingDifference, ...]
    learned_from: Mapping[str, int] = field(default_factory=dict)


def compare_routing(cohort: SpotCohort, subject: str = SPADE, search: Search | None = None) -> RoutingResult:
    """Compare each variant ('SPADE, hard', 'SPADE, two experts') with the judged representation.

    Raises:
        CohortError: One patient, or no variant.
        UsageError: There is no such representation.
    """
    cohort.baselines(subject)
    variants, chosen, truth = cohort.variants(subject), search or Search(), pose_truth(cohort)
    if not variants:
        raise CohortError(
            f"The cohort has no variant of {subject!r}. Embed with another routing, and name it '{subject}, hard'."
        )
    own = unit_rows(cohort.vectors[subject])
    near = find_neighbours(cohort, subject, chosen.neighbours)
    every = np.ones(len(cohort.genes), np.bool_)
    base = truth.means(truth.correlate(infer(cohort, near, chosen.temperature)), every)["over all spots"]
    out = []
    for name in variants:
        cosines = (own * unit_rows(cohort.vectors[name])).sum(axis=1, dtype=np.float64)
        found = find_neighbours(cohort, name, chosen.neighbours)
        draws = truth.means(truth.correlate(infer(cohort, found, chosen.temperature)), every)["over all spots"] - base
        shared = [len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(near.ids, found.ids, strict=True)]
        out.append(
            RoutingDifference(
                name,
                float(cosines.mean()),
                float(np.percentile(cosines, LOW)),
                float((cosines > 1 - 1e-6).mean()),
                float(np.sum(shared) / max(1, (near.ids >= 0).sum())),
                estimate(float(draws[0]), draws[1:]),
            )
        )
    return RoutingResult(subject, len(cohort), truth.resamples.patients, chosen.neighbours, tuple(out), cohort.taught)
