"""Who teaches and who tests: labelled items of a cohort, and the draws of a few-shot probe.

A draw parts the patients first, and draws items from the teaching ones: no patient is on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError

from ..classification import find_classes
from .spot_cohort import SpotCohort

DRAWS: Final = 20
"""Times that patients and shots are drawn."""

TEST_SHARE: Final = 1 / 3
"""Share of each class's patients who test."""

_SEED = 20_250_626
_TRIES = 50

Unit = Literal["patches", "slides"]
UNITS: Final[tuple[Unit, ...]] = ("patches", "slides")
"""What an item is: a spot's picture, or a section as the mean of its spots' vectors."""


@dataclass(frozen=True, slots=True)
class Items:
    """n labelled items.

    Attributes:
        unit: What they are.
        classes: Names of the classes.
        vectors: Representation → (n, d) float32.
        codes: (n,) int64, class of each.
        patients: (n,) str, whose each is.
        dropped: Items whose label is not known, or that one patient alone has.
    """

    unit: Unit
    classes: tuple[str, ...]
    vectors: Mapping[str, NDArray[np.float32]]
    codes: NDArray[np.int64]
    patients: NDArray[np.str_]
    dropped: int


@dataclass(frozen=True, slots=True)
class Draw:
    """One parting of the patients, and the order in which items teach.

    Attributes:
        queues: For each class the items of the teaching patients, (k,) int64, first one of every patient in random
            order, then a second one of every patient, and so on.
        test: (t,) int64, all items of the testing patients.
    """

    queues: tuple[NDArray[np.int64], ...]
    test: NDArray[np.int64]

    def taught(self, shots: int) -> NDArray[np.int64] | None:
        """The items that teach; None where a class has fewer."""
        if min(map(len, self.queues)) < shots:
            return None
        return np.concatenate([queue[:shots] for queue in self.queues])


def make_items(cohort: SpotCohort, label: str, unit: Unit) -> Items:
    """The labelled items of a cohort.

    Args:
        cohort: The spots.
        label: 'organ', or a clinical fact.
        unit: A section is the mean of its spots' vectors.

    Raises:
        CohortError: Fewer than two classes have two patients.
    """
    labels, patients, vectors = cohort.labels(label), cohort.patients, dict(cohort.vectors)
    if unit == "slides":
        codes = cohort.section_codes
        _, first = np.unique(codes, return_index=True)
        labels, patients = labels[first], patients[first]
        vectors = {name: _pooled(matrix, codes) for name, matrix in vectors.items()}
    classes = find_classes(labels, patients, least_patients=2)
    known = np.isin(labels, classes)
    return Items(
        unit,
        classes,
        {name: matrix[known] for name, matrix in vectors.items()},
        np.searchsorted(np.array(classes), labels[known]).astype(np.int64),
        patients[known],
        int((~known).sum()),
    )


def make_draws(
    codes: NDArray[np.int64], patients: NDArray[np.str_], draws: int = DRAWS, seed: int = _SEED
) -> tuple[Draw, ...]:
    """Part the patients and order the items, again and again.

    Args:
        codes: (n,) class of each item, from 0.
        patients: (n,) whose each is.
        draws: How often.
        seed: The same gives the same draws.

    Raises:
        CohortError: The patients can't be parted so that every class is on both sides.
    """
    rng = np.random.default_rng(seed)
    names, owners = np.unique(patients, return_inverse=True)
    owners = owners.ravel()
    counts = np.zeros((len(names), int(codes.max()) + 1))
    np.add.at(counts, (owners, codes), 1)
    return tuple(_draw(counts, owners, codes, rng) for _ in range(draws))


def _draw(
    counts: NDArray[np.float64], owners: NDArray[np.int64], codes: NDArray[np.int64], rng: np.random.Generator
) -> Draw:
    """Part patients with (p, classes) items, until every class is on both sides."""
    for _ in range(_TRIES):
        tests = _testing(counts.argmax(axis=1), rng)
        if (counts[tests].sum(axis=0) > 0).all() and (counts[~tests].sum(axis=0) > 0).all():
            taught = [np.flatnonzero((codes == c) & ~tests[owners]) for c in range(counts.shape[1])]
            return Draw(tuple(_queue(items, owners[items], rng) for items in taught), np.flatnonzero(tests[owners]))
    raise CohortError(
        "The patients can't be parted so that every class teaches and tests. Bring more patients of the rare classes."
    )


def _testing(strata: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(p,) who tests: of every stratum a share, at least one, but not all."""
    tests = np.zeros(len(strata), np.bool_)
    for stratum in np.unique(strata):
        own = rng.permutation(np.flatnonzero(strata == stratum))
        tests[own[: min(max(1, round(TEST_SHARE * len(own))), len(own) - 1)]] = True
    return tests


def _queue(items: NDArray[np.int64], owners: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Items in random order, patients taking turns."""
    order = rng.permutation(len(items))
    turn = np.zeros(len(items), np.int64)
    for owner in np.unique(owners):
        own = order[owners[order] == owner]
        turn[own] = np.arange(len(own))
    return np.asarray(items[order[np.argsort(turn[order], kind="stable")]])


def _pooled(vectors: NDArray[np.float32], codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """(s, d) means of the vectors of each section."""
    sums = np.zeros((int(codes.max()) + 1, vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    return np.asarray(sums / np.bincount(codes)[:, None], np.float32)
