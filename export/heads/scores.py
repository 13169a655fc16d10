"""Scores of a classifier, each with an interval from a bootstrap of patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from ..evaluation.bootstrap import Estimate, draw_patients, estimate

_RANKED_DECIMALS = 9
"""Scores that differ by less are a tie: sums in another order give about 1e-15."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How well scores tell classes apart.

    Attributes:
        auroc: Mean over the classes of one against the rest; 0.5 is chance.
        balanced_accuracy: Mean recall of the classes; 1 / classes is chance.
        macro_f1: Mean F1 of the classes.
    """

    auroc: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate


def resample_patients(owners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Draw patients with replacement; the same patients always get the same draws.

    Args:
        owners: (n,) the patient, by number, of each row.

    Returns:
        (1 + ROUNDS, n) float64: how often each row counts. The first draw is everyone once.
    """
    drawn = draw_patients(owners.astype(np.str_))
    return np.vstack([np.ones(len(owners)), drawn.weights[:, drawn.groups]])


def first_of(samples: NDArray[np.float64]) -> Estimate:
    """The first sample as the value, the percentiles of the others as its interval."""
    return estimate(float(samples[0]), samples[1:])


def score_classes(
    scores: NDArray[np.float64],
    codes: NDArray[np.int64],
    owners: NDArray[np.int64],
    folds: NDArray[np.int64] | None = None,
) -> ClassScores:
    """Score n rows of patients.

    Scores of several folds are ranked together, and a model that has learned little says its training patients' shares
    of the classes, which are the lower the more of a class is tested: constant scores would rank below chance. So each
    row is ranked by its scores less the logarithm of the shares in the other folds, as if all classes were as frequent.

    Args:
        scores: (n, classes) logits or log-probabilities.
        codes: (n,) the true class.
        owners: (n,) the patient, by number from 0, of each row.
        folds: (n,) the fold in which each row was tested; None for scores of one model.
    """
    return ClassScores(*(first_of(values) for values in class_samples(scores, codes, owners, folds)))


def class_samples(
    scores: NDArray[np.float64],
    codes: NDArray[np.int64],
    owners: NDArray[np.int64],
    folds: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """AUROC, balanced accuracy and macro F1, each (1 + ROUNDS,): of everyone, then of each draw; see `score_classes`.

    The same patients are drawn whatever the scores, so that samples of two models can be subtracted.
    """
    scores = log_softmax(scores, axis=1)
    weights = resample_patients(owners)
    truth = np.eye(scores.shape[1])[codes]
    even = scores if folds is None else log_softmax(scores - _log_shares(truth, folds), axis=1)
    even = np.round(even, _RANKED_DECIMALS)
    ranked = [weighted_auroc(even[:, c], truth[:, c] > 0, weights) for c in range(scores.shape[1])]
    confusion = _confusion(truth, np.eye(scores.shape[1])[scores.argmax(axis=1)], weights)
    return np.asarray(np.mean(ranked, axis=0)), *_from_confusion(confusion)


def read_class_scores(metrics: Mapping[str, object]) -> ClassScores:
    """Read back the scores that a trained classifier's manifest holds; NaN for what is not there."""
    return ClassScores(*(read_estimate(metrics.get(field.name)) for field in fields(ClassScores)))


def read_estimate(value: object) -> Estimate:
    """Read back a figure with its interval from JSON; NaN for what is not there."""
    held = value if isinstance(value, Mapping) else {}
    numbers = (held.get(field.name) for field in fields(Estimate))
    return Estimate(*(float(number) if isinstance(number, int | float) else float("nan") for number in numbers))


def weighted_auroc(
    score: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area under the ROC curve under several weightings of the same rows; ties count half.

    Args:
        score: (n,).
        positive: (n,).
        weights: (b, n), not negative.

    Returns:
        (b,); NaN where a weighting has only one kind.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    own = np.where(positive[order], weights[:, order], 0.0)
    other = weights[:, order] - own
    own, other = np.add.reduceat(own, starts, axis=1), np.add.reduceat(other, starts, axis=1)
    below = np.cumsum(other, axis=1) - other / 2
    pairs = own.sum(axis=1) * other.sum(axis=1)
    area = np.divide((own * below).sum(axis=1), pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return np.asarray(area)


def _log_shares(truth: NDArray[np.float64], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, classes) logarithm of the share of each class outside of each row's fold."""
    within = np.zeros((int(folds.max()) + 1, truth.shape[1]))
    np.add.at(within, folds, truth)
    outside = (truth.sum(axis=0) - within)[folds]
    return np.asarray(np.log(outside / outside.sum(axis=1, keepdims=True)))


def _confusion(
    truth: NDArray[np.float64], guess: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(b, classes, classes) weight of each pair of truth and guess."""
    cells = (truth[:, :, None] * guess[:, None, :]).reshape(len(truth), -1)
    return (weights @ cells).reshape(len(weights), truth.shape[1], guess.shape[1])


def _from_confusion(confusion: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Balanced accuracy and macro F1; undefined in a sample that lacks a class."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    true, said = confusion.sum(axis=2), confusion.sum(axis=1)
    recall = np.divide(right, true, out=np.full_like(right, np.nan), where=true > 0)
    f1 = np.divide(2 * right, true + said, out=np.full_like(right, np.nan), where=true > 0)
    return recall.mean(axis=1), f1.mean(axis=1)
