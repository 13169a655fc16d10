"""What a patch may be compared with: the four galleries, and exact search that keeps to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas, Neighbours, standardise
from haiku_edge.runtime.inference.blocks import row_blocks

from .embedded_cohort import EmbeddedCohort

Leave = Literal["nothing", "patch", "region", "patient"]
LEAVES: Final[tuple[Leave, ...]] = ("nothing", "patch", "region", "patient")
"""What is left out of a patch's gallery: nothing (as published), the patch itself with those that overlap it, all of
its region, all of its patient."""

_SPARE = 16
_TOUCHING: Final = 1e-3
"""Micrometres that two patches may overlap by rounding."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Gallery:
    """n measured mIF patches.

    Attributes:
        vectors: (n, d) float32 unit vectors of the mIF tower.
        z: (n, m) float32, (expression − mean) / std; NaN where not measured.
        mean: (m,) float32 mean expression over the patches that measured the marker; NaN where none did.
        std: (m,) float32 standard deviation over them.
        patches: (n,) str.
        regions: (n,) str.
        patients: (n,) str.
        tissues: (n,) str, '' where not known.
        x: (n,) float32, micrometres, NaN where not known.
        y: (n,) float32.
        side: Side of a patch in micrometres, or None.
        markers: Names of the m markers.
    """

    vectors: NDArray[np.float32]
    z: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    patches: NDArray[np.str_]
    regions: NDArray[np.str_]
    patients: NDArray[np.str_]
    tissues: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    side: float | None
    markers: tuple[str, ...]

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.patches)

    def with_markers(self, columns: Sequence[int]) -> Gallery:
        """The same patches with these markers alone."""
        return replace(
            self,
            z=self.z[:, columns],
            mean=self.mean[columns],
            std=self.std[columns],
            markers=tuple(self.markers[column] for column in columns),
        )


def own_gallery(cohort: EmbeddedCohort, tissues: NDArray[np.str_] | None = None) -> Gallery:
    """The cohort's own mIF patches."""
    mean, std, z = standardise(cohort.expression)
    return Gallery(
        vectors=cohort.vectors["mif"],
        z=z,
        mean=mean,
        std=std,
        patches=cohort.patches,
        regions=cohort.regions,
        patients=cohort.patients,
        tissues=np.full(len(cohort), "", np.str_) if tissues is None else tissues,
        x=cohort.x,
        y=cohort.y,
        side=cohort.side,
        markers=cohort.markers,
    )


def atlas_gallery(atlas: Atlas, side: float, tissues: NDArray[np.str_] | None = None) -> Gallery:
    """The evidence of a bundle, whose patches have this side in micrometres."""
    return Gallery(
        vectors=atlas.vectors,
        z=atlas.z,
        mean=atlas.mean,
        std=atlas.std,
        patches=atlas.patches,
        regions=atlas.sections,
        patients=atlas.patients,
        tissues=atlas.organs if tissues is None else tissues,
        x=atlas.x,
        y=atlas.y,
        side=side,
        markers=atlas.markers,
    )


@dataclass(frozen=True, slots=True)
class Barrier:
    """Which entries of a gallery may not be found by which patches of a cohort.

    Attributes:
        leave: What is left out.
        cohort: (n, 3) int64 codes of each asking patch: patch, region, patient.
        gallery: (N, 3) int64 codes of each entry, in the same code.
        places: (n, 2) float32 and (N, 2) float32 left and top edges in micrometres.
        sides: Sides of the patches of cohort and gallery in micrometres; NaN where not known.
    """

    leave: Leave
    cohort: NDArray[np.int64]
    gallery: NDArray[np.int64]
    places: tuple[NDArray[np.float32], NDArray[np.float32]]
    sides: tuple[float, float]

    def mask(self, rows: slice) -> Bools | None:
        """(rows, N) whether an entry is barred for each asking patch; None where nothing is."""
        if self.leave == "nothing":
            return None
        if self.leave == "patient":
            return np.asarray(self.cohort[rows, None, 2] == self.gallery[None, :, 2])
        region = self.cohort[rows, None, 1] == self.gallery[None, :, 1]
        if self.leave == "region":
            return np.asarray(region)
        same = self.cohort[rows, None, 0] == self.gallery[None, :, 0]
        return np.asarray(same | (region & self._overlap(rows)))

    def _overlap(self, rows: slice) -> Bools:
        """(rows, N) whether two squares share area, were they in one region; False where a place is not known."""
        asking, held = self.places
        own, other = self.sides
        shared = np.ones((len(asking[rows]), len(held)), np.bool_)
        for axis in range(2):
            left, right = asking[rows, None, axis], held[None, :, axis]
            shared &= (left + own > right + _TOUCHING) & (right + other > left + _TOUCHING)
        return shared


def make_barrier(cohort: EmbeddedCohort, gallery: Gallery, leave: Leave) -> Barrier:
    """The barrier between a cohort and a gallery; both call the same patient, region and patch by the same name."""
    return _barrier(cohort, gallery, leave)


def own_barrier(cohort: EmbeddedCohort, leave: Leave) -> Barrier:
    """The barrier between a cohort and itself."""
    return _barrier(cohort, cohort, leave)


def _barrier(cohort: EmbeddedCohort, gallery: Gallery | EmbeddedCohort, leave: Leave) -> Barrier:
    pairs = ((cohort.patches, gallery.patches), (cohort.regions, gallery.regions), (cohort.patients, gallery.patients))
    patch, region, patient = (np.unique(np.concatenate(pair), return_inverse=True)[1].ravel() for pair in pairs)
    # A region is its patient's and a patch its region's, whatever they are called.
    region = _joint(patient, region)
    both = np.stack([_joint(region, patch), region, patient], axis=1).astype(np.int64)
    count = len(cohort)
    return Barrier(
        leave,
        both[:count],
        both[count:],
        (np.stack([cohort.x, cohort.y], axis=1), np.stack([gallery.x, gallery.y], axis=1)),
        (cohort.side or float("nan"), gallery.side or float("nan")),
    )


def places_known(cohort: EmbeddedCohort) -> bool:
    """Whether it can be said which patches overlap."""
    return cohort.side is not None and bool(np.isfinite(cohort.x).all() and np.isfinite(cohort.y).all())


def search(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int, barrier: Barrier | None = None
) -> Neighbours:
    """The k best allowed entries of each query, exactly; of equal scores the earlier entry comes first.

    Memory stays flat: queries go through in blocks.

    Args:
        queries: (n, d) float32.
        vectors: (N, d) float32.
        k: How many; may exceed N.
        barrier: What may not be found; None bars nothing.
    """
    found = Neighbours(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32))
    # For each query: its score for every entry, and a copy of every candidate's vector.
    for rows in row_blocks(len(queries), max(len(vectors), min(len(vectors), k + _SPARE) * queries.shape[1])):
        barred = None if barrier is None else barrier.mask(rows)
        ids, scores = _best(queries[rows], vectors, k, barred)
        found.ids[rows, : ids.shape[1]], found.scores[rows, : ids.shape[1]] = ids, scores
    return found


def _best(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int, barred: Bools | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Candidates by a matrix product, then scored one by one, so that the block does not round them differently."""
    rough = queries @ vectors.T
    if barred is not None:
        rough[barred] = -np.inf
    width = min(len(vectors), k + _SPARE)
    top = np.argpartition(rough, len(vectors) - width, axis=1)[:, len(vectors) - width :]
    scores = np.einsum("qd,qcd->qc", queries, vectors[top])
    scores[np.isneginf(np.take_along_axis(rough, top, 1))] = -np.inf
    order = np.lexsort((top, -scores), axis=-1)[:, :k]
    ids, scores = np.take_along_axis(top, order, 1), np.take_along_axis(scores, order, 1)
    return np.where(np.isneginf(scores), -1, ids), scores


def _joint(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """One code for each pair of codes."""
    return np.asarray(np.unique(np.stack([first, second], axis=1), axis=0, return_inverse=True)[1], np.int64).ravel()
