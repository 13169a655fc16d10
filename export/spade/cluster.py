"""Two-stage clustering of image features: k-means in every organ, then k-means over all centroids (SPADE, 2506.21857).

Sums of floating-point numbers depend on how many threads share them, so that everything here computes in one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from haiku_edge.runtime.errors import CohortError, DatasetError, UsageError

from ..checkpoint.spade import clustering_digest
from .elbow import SIZES, elbow

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

PER_ORGAN = 16
"""Centroids of an organ. Published."""

RESTARTS = 5
"""K-means runs of an organ, of which the best is kept. Published."""

ITERATIONS = 50
"""Iterations of one of them. Published."""

MOST_A_CENTROID = 50_000
"""Spots a centroid that an organ's k-means looks at; of more, that many are drawn. Published."""

_STAGE_TWO_RESTARTS = 10
_ROWS_AT_ONCE = 4096
_SAMPLE, _SHUFFLE = 1, 2
"""Purposes of random streams."""

Features = Sequence[NDArray[np.float32]]
"""(n, D) float32 image features of an organ's sections, one array a section; they may be mapped from files."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Centroids of image space, and which expert each belongs to.

    Attributes:
        centroids: (K, D) float32.
        organ_of: (K,) organ that each was found in; organs by name.
        expert_of: (K,) int64 in 0…E-1, every expert at least once.
        spots: (K,) int64, spots of its own organ that are nearest to each.
        wcss: Number of experts → within-cluster sum of squares of the centroids, for those of `SIZES` that they allow.
        seed: What the clustering was seeded with.
        shuffled: Whether the centroids were given to experts by chance, as a baseline.
        notes: What a reader should know: organs with few spots, clusters that were merged, counted from 1.
        merged: Clusters that had too few spots, and were merged into others.
    """

    centroids: NDArray[np.float32]
    organ_of: tuple[str, ...]
    expert_of: NDArray[np.int64]
    spots: NDArray[np.int64]
    wcss: Mapping[int, float]
    seed: int
    shuffled: bool = False
    notes: tuple[str, ...] = ()
    merged: int = 0

    @property
    def experts(self) -> int:
        """Number of experts."""
        return int(self.expert_of.max()) + 1

    @property
    def digest(self) -> str:
        """SHA-256 of centroids and map, which belong together; experts are written with it."""
        return clustering_digest(self.centroids, self.expert_of)

    def expert_of_spots(self, features: NDArray[np.float32], organ: str) -> NDArray[np.int64]:
        """(n,) int64 expert of each spot of an organ: that of the nearest of the organ's centroids, as published.

        Where the organ has none, that of the nearest of all.
        """
        own = np.flatnonzero(np.array(self.organ_of) == organ)
        own = own if len(own) else np.arange(len(self.centroids))
        return self.expert_of[own[nearest(features, self.centroids[own])]]


def two_stage(
    features_by_organ: Mapping[str, Features],
    per_organ: int = PER_ORGAN,
    experts: int | Literal["elbow"] = 16,
    seed: int = 0,
    *,
    least_spots: int = 0,
    shuffled: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Clusters:
    """Cluster every organ's features, then the centroids of all organs.

    Args:
        features_by_organ: Organ → features; the order of the organs does not matter, that of an organ's sections does.
        per_organ: Centroids of an organ; fewer where it has fewer different spots.
        experts: Number of experts, or "elbow" to take the bend of the curve (`elbow`).
        seed: Seeds both stages.
        least_spots: An expert with fewer spots is merged into the nearest.
        shuffled: Give the centroids to experts by chance, each expert as many as it had: a baseline. Not spots but
            centroids are shuffled, so that a spot can still be routed.
        say: Called with every note; several clusters that were merged are counted in one line.

    Raises:
        CohortError: There is no spot.
        DatasetError: A feature is no number, or organs have features of different lengths.
        UsageError: More experts than centroids, or an elbow of fewer than three points.
    """
    organs = {name: features_by_organ[name] for name in sorted(features_by_organ)}
    _check(organs, per_organ, experts)
    with threadpool_limits(limits=1):
        parts = {name: _organ_centroids(sections, per_organ, seed) for name, sections in organs.items()}
        centroids = np.concatenate([found for found, _ in parts.values()])
        expert_of, wcss = _join(centroids, experts, seed)
    if shuffled:
        expert_of = np.random.default_rng(np.random.SeedSequence((seed, _SHUFFLE))).permutation(expert_of)
    spots = np.concatenate([counted for _, counted in parts.values()])
    expert_of, merged = merge_small(centroids, expert_of, spots, least_spots)
    notes = _organ_notes({name: found for name, (found, _) in parts.items()}, per_organ)
    organ_of = tuple(name for name, (found, _) in parts.items() for _ in found)
    clusters = Clusters(
        centroids, organ_of, expert_of, spots, wcss, seed, shuffled, (*notes, *merged), merged=len(merged)
    )
    for line in (*notes, *(merged if len(merged) < 2 else [_count_merged(clusters, least_spots)])):
        say(line)
    return clusters


def nearest(features: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) int64 row of the centroid nearest to each of (n, D) features; of equals, the first."""
    wide = centroids.astype(np.float64)
    squares = np.square(wide).sum(1)
    found = np.empty(len(features), np.int64)
    with threadpool_limits(limits=1):
        for start in range(0, len(features), _ROWS_AT_ONCE):
            rows = np.asarray(features[start : start + _ROWS_AT_ONCE], np.float64)
            found[start : start + len(rows)] = (squares - 2 * rows @ wide.T).argmin(1)
    return found


def merge_small(
    centroids: NDArray[np.float32], expert_of: NDArray[np.int64], spots: NDArray[np.int64], least: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Give the centroids of an expert with too few spots to the expert whose centroids' mean is nearest.

    The expert with the fewest spots goes first, until each that is left has enough, or one is left.

    Args:
        centroids: (K, D) float32.
        expert_of: (K,) int64.
        spots: (K,) int64 spots of each centroid.
        least: Spots that an expert needs.

    Returns:
        (K,) int64 experts, numbered anew without gaps in their old order; and a note for each merger, which counts
        clusters from 1.
    """
    merged, notes = expert_of.copy(), []
    while len(names := np.unique(merged)) > 1:
        counts = [int(spots[merged == name].sum()) for name in names]
        few = int(np.argmin(counts))
        if counts[few] >= least:
            break
        means = np.stack([centroids[merged == name].mean(0, dtype=np.float64) for name in names])
        distances = np.square(means - means[few]).sum(1)
        distances[few] = np.inf
        into = int(names[distances.argmin()])
        notes.append(
            f"Cluster {names[few] + 1} has {counts[few]:,} spots to learn from, fewer than {least:,}, and was merged "
            f"into cluster {into + 1}."
        )
        merged[merged == names[few]] = into
    return np.unique(merged, return_inverse=True)[1].astype(np.int64), notes


def _count_merged(clusters: Clusters, least: int) -> str:
    """One line for all mergers."""
    return (
        f"{clusters.merged} of {clusters.experts + clusters.merged} clusters have fewer than {least:,} spots to learn "
        f"from, and were merged into their nearest: {clusters.experts} {'is' if clusters.experts == 1 else 'are'} left."
    )


def _check(organs: Mapping[str, Features], per_organ: int, experts: int | str) -> None:
    if per_organ < 1 or (isinstance(experts, int) and experts < 1):
        raise UsageError("There is at least one centroid an organ, and one expert. Give positive numbers.")
    if not organs or not all(sum(map(len, sections)) for sections in organs.values()):
        raise CohortError("An organ has no spot to learn from, so there is nothing to cluster. Add sections.")
    if len({section.shape[1] for sections in organs.values() for section in sections}) > 1:
        raise DatasetError("Sections have features of different lengths. Compute all with one encoder.")


def _organ_centroids(sections: Features, most: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Centroids of one organ that own at least one spot, and how many spots each owns."""
    sample = _sample(sections, most * MOST_A_CENTROID, seed)
    if not np.isfinite(sample).all():
        raise DatasetError("An image feature is no number. Compute the features again, with an encoder that works.")
    found = _k_means(sample, min(most, len(sample)), seed, RESTARTS, ITERATIONS, copy=False)
    centroids: NDArray[np.float32] = found.cluster_centers_.astype(np.float32)
    counts = np.zeros(len(centroids), np.int64)
    for section in sections:
        counts += np.bincount(nearest(section, centroids), minlength=len(centroids))
    return centroids[counts > 0], counts[counts > 0]


def _sample(sections: Features, most: int, seed: int) -> NDArray[np.float32]:
    """At most so many rows of the sections, in their order."""
    sizes = [len(section) for section in sections]
    chosen = np.arange(sum(sizes))
    if len(chosen) > most:
        draw = np.random.default_rng(np.random.SeedSequence((seed, _SAMPLE)))
        chosen = np.sort(draw.choice(len(chosen), most, replace=False))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    sample = np.empty((len(chosen), sections[0].shape[1]), np.float32)
    for section, start, stop in zip(sections, starts[:-1], starts[1:], strict=True):
        inside = slice(*np.searchsorted(chosen, (start, stop)))
        sample[inside] = section[chosen[inside] - start]
    return sample


def _k_means(
    rows: NDArray[np.float32], clusters: int, seed: int, restarts: int, iterations: int, *, copy: bool = True
) -> KMeans:
    """K-means to its fixed point or the last iteration; equal rows may leave clusters empty, which is no fault."""
    # Here, since processes that train an expert import this package and do not cluster.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        settings = {"n_init": restarts, "max_iter": iterations, "tol": 0, "random_state": seed, "copy_x": copy}
        return KMeans(clusters, **settings).fit(rows)


def _join(
    centroids: NDArray[np.float32], experts: int | Literal["elbow"], seed: int
) -> tuple[NDArray[np.int64], dict[int, float]]:
    """The expert of each centroid, and the within-cluster sums for the sizes that are compared."""
    sizes = {size for size in SIZES if size <= len(centroids)}
    if experts != "elbow" and experts > len(centroids):
        raise UsageError(
            f"{experts} experts need at least as many centroids, and this cohort gave {len(centroids)}. Give a smaller "
            "--experts, or ask for more centroids with --per-organ."
        )
    fits = {
        size: _k_means(centroids, size, seed, _STAGE_TWO_RESTARTS, 300)
        for size in sorted(sizes if experts == "elbow" else sizes | {experts})
    }
    wcss = {size: float(fits[size].inertia_) for size in sorted(sizes)}
    chosen = elbow(wcss) if experts == "elbow" else experts
    return np.unique(fits[chosen].labels_, return_inverse=True)[1].astype(np.int64), wcss


def _organ_notes(centroids: Mapping[str, NDArray[np.float32]], wanted: int) -> list[str]:
    notes = [
        f"{organ} has fewer different spots than {wanted} centroids, and got {len(found)}."
        for organ, found in centroids.items()
        if len(found) < wanted
    ]
    if len(centroids) == 1:
        notes.append(
            f"All sections are of one organ ({next(iter(centroids))}): its {wanted} centroids are all there are."
        )
    return notes
