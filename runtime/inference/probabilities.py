"""From a classifier's logits to probabilities and to a set of classes that holds the true one.

Bias-corrected temperature scaling, softmax(a · logits + b): with two classes it is Platt's method (Platt, 1999,
Probabilistic outputs for support vector machines), whose smoothed targets keep it finite where classes separate. The
set of classes is split conformal over patients, the score being one minus the probability of the true class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .conformal import patient_weights, tile_quantile

_STEPS = 100
_TOLERANCE = 1e-10
_RIDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Scaling:
    """Calibrated probabilities are softmax(scale · logits + offset).

    Attributes:
        scale: ≥ 0; 0 where the scores don't tell the classes apart, which leaves the classes' shares.
        offset: (classes,) float64, the last one 0.
    """

    scale: float
    offset: NDArray[np.float64]

    def __call__(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, classes) probabilities that sum to 1."""
        return _softmax(self.scale * logits.astype(np.float64) + self.offset)


@dataclass(frozen=True, slots=True)
class ClassCalibration:
    """How a classifier's scores are read.

    Attributes:
        scaling: Logits to probabilities.
        least: Probability from which a class belongs to the set; -inf where too few patients set it.
        coverage: Probability that the set holds the true class of a new patient.
        patients: Patients that it was fitted on.
    """

    scaling: Scaling
    least: float
    coverage: float
    patients: int

    def members(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n, classes) which classes belong to each set; the likeliest always does."""
        best = probabilities == probabilities.max(axis=1, keepdims=True)
        return np.asarray((probabilities >= self.least) | best)


def calibrate_classes(
    logits: NDArray[np.float64], labels: NDArray[np.int64], patients: NDArray[np.str_], coverage: float
) -> ClassCalibration:
    """Fit on out-of-fold scores; every patient counts the same, however many rows there are of each.

    Args:
        logits: (n, classes).
        labels: (n,) true classes.
        patients: (n,) whose row each is.
        coverage: Of the sets, 0 to 1.
    """
    scaling = fit_scaling(logits, labels, patient_weights(patients))
    wrong = 1 - scaling(logits)[np.arange(len(labels)), labels]
    return ClassCalibration(scaling, 1 - tile_quantile(wrong, patients, coverage), coverage, len(np.unique(patients)))


def fit_scaling(logits: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]) -> Scaling:
    """Minimise the weighted cross-entropy to smoothed targets, by Newton's method; it is convex.

    Args:
        logits: (n, classes).
        labels: (n,) true classes.
        weights: (n,) summing to 1.
    """
    count = logits.shape[1]
    targets = _smoothed(labels, count)
    design = _design(logits)
    parameters = _newton(design, targets, weights, np.zeros(count))
    if parameters[0] < 0:
        # Scores that rank the wrong way round say nothing: what is left are the classes' shares.
        design[:, :, 0] = 0
        parameters = _newton(design, targets, weights, np.zeros(count))
        parameters[0] = 0
    return Scaling(float(parameters[0]), np.append(parameters[1:], 0.0))


def _design(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, classes, classes): what a unit of each parameter (scale, offsets but the last) adds to each logit."""
    rows, count = logits.shape
    design = np.zeros((rows, count, count))
    design[:, :, 0] = logits
    design[:, np.arange(count - 1), np.arange(1, count)] = 1
    return design


def _smoothed(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Platt's targets: a class with N cases gets (N + 1) / (N + classes), the others share the rest."""
    number = np.bincount(labels, minlength=classes)[labels][:, None]
    own = np.arange(classes)[None] == labels[:, None]
    return np.asarray((own * number + 1) / (number + classes))


def _newton(
    design: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    parameters, loss = start, _loss(design, targets, weights, start)
    for _ in range(_STEPS):
        gradient, hessian = _slopes(design, targets, weights, parameters)
        step = np.linalg.solve(hessian + _RIDGE * np.eye(len(start)), gradient)
        size = 1.0
        while size > _TOLERANCE and _loss(design, targets, weights, parameters - size * step) > loss:
            size /= 2
        parameters = parameters - size * step
        before, loss = loss, _loss(design, targets, weights, parameters)
        if before - loss < _TOLERANCE:
            break
    return parameters


def _loss(
    design: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], at: NDArray[np.float64]
) -> float:
    logits = design @ at
    top = logits.max(axis=1, keepdims=True)
    logs = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return float(-(weights[:, None] * targets * logs).sum())


def _slopes(
    design: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], at: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    share = _softmax(design @ at)
    gradient = np.einsum("n,nk,nkp->p", weights, share - targets, design)
    mean = np.einsum("nk,nkp->np", share, design)
    second = np.einsum("n,nk,nkp,nkq->pq", weights, share, design, design)
    return gradient, second - np.einsum("n,np,nq->pq", weights, mean, mean)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
