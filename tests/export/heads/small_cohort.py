"""Cohorts of vectors whose truth is known, without any tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort


def names(count: int) -> list[str]:
    return [f"Q{number:03d}" for number in range(count)]


def cohort_of(
    bags: Sequence[NDArray[np.float64]],
    facts: Sequence[Mapping[str, str]],
    *,
    text: Sequence[NDArray[np.float64]] | None = None,
) -> EmbeddedCohort:
    """One patient for each bag of H&E vectors, with its facts."""
    patients = np.repeat(names(len(bags)), [len(bag) for bag in bags])
    count = len(patients)
    vectors = {"he": np.concatenate(bags).astype(np.float32)}
    if text is not None:
        vectors["text"] = np.concatenate(
            [np.repeat(one[None], len(bag), axis=0) for one, bag in zip(text, bags, strict=True)]
        ).astype(np.float32)
    return EmbeddedCohort(
        markers=("CD3",),
        patches=np.array([f"{patient}-{row}" for row, patient in enumerate(patients)]),
        regions=patients,
        patients=patients,
        x=np.full(count, np.nan, np.float32),
        y=np.full(count, np.nan, np.float32),
        side=None,
        vectors=vectors,
        expression=np.full((count, 1), np.nan, np.float32),
        positive=np.full((count, 1), np.nan, np.float32),
        facts=dict(zip(names(len(bags)), facts, strict=True)),
    )


def alike_bags(rng: np.random.Generator, patients: int, patches: int, dimension: int) -> list[NDArray[np.float64]]:
    """Patches of one patient are nearly the same, as overlapping patches of one section are."""
    centres = rng.normal(size=(patients, dimension))
    return [centre + 0.1 * rng.normal(size=(patches, dimension)) for centre in centres]


def survival_facts(rng: np.random.Generator, hazard: NDArray[np.float64]) -> list[dict[str, str]]:
    """Exponential survival of a known log-hazard, censored at random."""
    death = rng.exponential(30 / np.exp(hazard))
    end = rng.uniform(10, 90, size=len(hazard))
    return [
        {"survival": f"{min(d, e):.2f} months", "survival_status": "dead" if d <= e else "alive"}
        for d, e in zip(death, end, strict=True)
    ]
