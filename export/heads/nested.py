"""Nested cross-validation by patient: the inner loop chooses settings and epochs, the outer loop measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bags import Bags
from .fit import fit_network, predict_bags
from .folds import fold_numbers, inner_fold_count
from .network import BagNetwork
from .settings import RidgeSettings, Settings
from .targets import SurvivalTarget, Target

MEMBERS = 3
"""Networks of different seeds whose mean is a head: one alone depends on its seed more than on some patients."""

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the inner loop chose.

    Attributes:
        settings: The settings with the least mean validation loss.
        epochs: Mean over the inner folds of the epoch at which they stopped.
        loss: That loss.
    """

    settings: Settings
    epochs: int
    loss: float


@dataclass(frozen=True, slots=True)
class Head:
    """Trained networks that speak as one.

    Attributes:
        members: The networks.
        shift: (outputs,) what is taken from their mean score: for survival the mean log-risk of the training patients,
            so that 0 is their average and heads of different folds can be compared; zeros for classes.
        choice: How they were trained.
    """

    members: tuple[BagNetwork, ...]
    shift: NDArray[np.float64]
    choice: Choice

    def scores(self, bags: Bags) -> NDArray[np.float64]:
        """(p, outputs) of every patient."""
        return _mean_scores(self.members, bags) - self.shift


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """Out-of-fold scores.

    Attributes:
        scores: (p, outputs) of every patient, from networks that saw neither the patient's patches nor target.
        folds: (p,) in which fold each patient was tested.
        choices: What the inner loop chose in each fold.
    """

    scores: NDArray[np.float64]
    folds: NDArray[np.int64]
    choices: tuple[Choice, ...]


def cross_validate(
    bags: Bags, target: Target, grid: Sequence[Settings], folds: NDArray[np.int64], seed: int, say: Say = quiet
) -> CrossValidated:
    """Score every patient by a head that was chosen and trained without them.

    Args:
        bags: The patients.
        target: Of the same patients.
        grid: Settings to choose from.
        folds: (p,) from `fold_numbers`.
        seed: Of networks and inner folds.
        say: Called with one line a fold.
    """
    scores, choices = None, []
    for fold in range(int(folds.max()) + 1):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        head = train_head(bags.select(inside), target.select(inside), grid, seed + 1000 * (fold + 1))
        found = head.scores(bags.select(outside))
        scores = np.zeros((len(bags), found.shape[1])) if scores is None else scores
        scores[outside] = found
        choices.append(head.choice)
        say(f"fold {fold + 1} of {int(folds.max()) + 1}")
    assert scores is not None
    return CrossValidated(scores, folds, tuple(choices))


def train_head(bags: Bags, target: Target, grid: Sequence[Settings], seed: int) -> Head:
    """Choose settings and epochs by inner folds, then train on all of these patients."""
    choice = choose(bags, target, grid, seed)
    seeds = (seed,) if isinstance(choice.settings, RidgeSettings) else range(seed, seed + MEMBERS)
    members = tuple(fit_network(bags, target, choice.settings, own, epochs=choice.epochs).network for own in seeds)
    mean = _mean_scores(members, bags)
    survival = isinstance(target, SurvivalTarget)
    return Head(members, mean.mean(axis=0) if survival else np.zeros(mean.shape[1]), choice)


def choose(bags: Bags, target: Target, grid: Sequence[Settings], seed: int) -> Choice:
    """The settings with the least mean validation loss over the inner folds, and when to stop."""
    inner = fold_numbers(target.strata, inner_fold_count(target.strata), seed)
    return min((_try(bags, target, settings, inner, seed) for settings in grid), key=lambda choice: choice.loss)


def _try(bags: Bags, target: Target, settings: Settings, inner: NDArray[np.int64], seed: int) -> Choice:
    fitted = [
        fit_network(
            bags.select(inside),
            target.select(inside),
            settings,
            seed,
            validation=(bags.select(outside), target.select(outside)),
        )
        for inside, outside in _splits(inner)
    ]
    epochs = round(float(np.mean([one.epochs for one in fitted])))
    return Choice(settings, max(epochs, 1), float(np.mean([one.loss for one in fitted])))


def _splits(folds: NDArray[np.int64]) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for fold in range(int(folds.max()) + 1):
        yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def _mean_scores(members: Sequence[BagNetwork], bags: Bags) -> NDArray[np.float64]:
    return np.asarray(np.mean([predict_bags(member, bags) for member in members], axis=0))
