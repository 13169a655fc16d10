"""How well classes are told apart: accuracy, balanced accuracy, macro F1, with intervals over patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError

from .bootstrap import Estimate, Resamples, estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassificationScore:
    """Predicted against true classes of some patches.

    Attributes:
        patches: Patches that have a class.
        accuracy: Share of the patches whose class is right.
        balanced: Mean over the classes of the share of their patches that are right.
        f1: Mean over the classes of F1; classes that are neither there nor predicted are left out.
    """

    patches: int
    accuracy: Estimate
    balanced: Estimate
    f1: Estimate


def find_classes(labels: NDArray[np.str_], patients: NDArray[np.str_], *, least_patients: int) -> tuple[str, ...]:
    """The classes that at least so many patients have, in alphabetical order.

    Raises:
        CohortError: There are fewer than two.
    """
    names = [name for name in np.unique(labels).tolist() if name]
    classes = tuple(name for name in names if len(np.unique(patients[labels == name])) >= least_patients)
    if len(classes) < 2:
        needed = f" with at least {least_patients} patients" if least_patients > 1 else ""
        raise CohortError(
            f"The cohort has {len(classes)} of the two or more classes{needed} that telling classes apart needs. "
            "Choose another --label, or a cohort with more patients."
        )
    return classes


def score_classes(
    true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, resamples: Resamples
) -> ClassificationScore:
    """Score predictions.

    Args:
        true: (n,) class of each patch, -1 for none: such patches do not count.
        predicted: (n,) class that was predicted, -1 for none: always wrong.
        classes: Number of classes.
        resamples: Draws of the patients of the same n patches.
    """
    known = true >= 0
    cells = np.zeros((len(true), classes * (classes + 1)))
    column = np.where(predicted >= 0, predicted, classes)
    cells[np.flatnonzero(known), true[known] * (classes + 1) + column[known]] = 1
    tables = resamples.sums(cells)
    now = _figures(tables.sum(axis=0)[None].reshape(1, classes, classes + 1))[0]
    draws = _figures((resamples.weights @ tables).reshape(-1, classes, classes + 1))
    scores = [estimate(float(now[i]), draws[:, i]) for i in range(3)]
    return ClassificationScore(int(known.sum()), *scores)


def _figures(tables: Floats) -> Floats:
    """(r, 3) accuracy, balanced accuracy and macro F1 of (r, classes, classes + 1) tables: true class, predicted."""
    right = np.einsum("rcc->rc", tables[:, :, :-1])
    there, said = tables.sum(axis=2), tables[:, :, :-1].sum(axis=1)
    accuracy = _ratio(right.sum(axis=1), there.sum(axis=1))
    recall = _ratio(right, there)
    f1 = _ratio(2 * right, there + said)
    return np.stack([accuracy, _mean(recall), _mean(f1)], axis=1)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0))


def _mean(values: Floats) -> Floats:
    """Means of the rows without the NaN."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))
