"""MIL Cox survival on a cohort: each kind of vector alone and fused, against clinical facts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError, UsageError

from ..evaluation.embedded_cohort import EmbeddedCohort
from .bags import make_bags
from .clinical import DEFAULT_FACTS, clinical_risk_out_of_fold
from .concordance import RiskScores, score_risk
from .features import available_features, reads_notes
from .folds import fold_numbers
from .nested import Choice, Say, cross_validate, quiet
from .notes import check_risk_features, tells_outcome
from .settings import Settings
from .targets import SurvivalTarget, check_size, read_survival

CLINICAL = "clinical facts (Cox)"
"""Name of the reference in tables."""

LANDMARKS = (24.0, 60.0)
"""Months at which the time-dependent AUROC is taken, where the follow-up reaches so far: two years and five."""


@dataclass(frozen=True, slots=True)
class RiskModel:
    """One model of a survival evaluation.

    Attributes:
        name: The vectors that it reads, or the clinical reference.
        scores: Its scores; `against` compares with the clinical reference.
        risk: (p,) out-of-fold log-risk.
        choices: What the inner loop chose in each fold; empty for the clinical model.
        reads_notes: Whether its vectors were made from the notes.
    """

    name: str
    scores: RiskScores
    risk: NDArray[np.float64]
    choices: tuple[Choice, ...]
    reads_notes: bool


@dataclass(frozen=True, slots=True)
class SurvivalEvaluation:
    """Nested cross-validation of survival.

    Attributes:
        time: Fact with the time.
        event: Fact with the event.
        target: Times and events.
        folds: Outer folds.
        clinical: Facts of the clinical model; empty where the cohort has none.
        models: The clinical reference first where there is one.
        landmarks: Months of the time-dependent AUROC.
    """

    time: str
    event: str
    target: SurvivalTarget
    folds: int
    clinical: tuple[str, ...]
    models: tuple[RiskModel, ...]
    landmarks: tuple[float, ...]


def evaluate_survival(
    cohort: EmbeddedCohort,
    *,
    time: str,
    event: str,
    grids: Mapping[str, Sequence[Settings]],
    features: Sequence[str] = (),
    clinical: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    say: Say = quiet,
) -> SurvivalEvaluation:
    """Cross-validate Cox heads by patient.

    Args:
        cohort: The patches.
        time: Fact with the time, see `read_survival`.
        event: Fact with the event.
        grids: Model → settings among which each inner loop chooses, such as `{"mil": preset("mil")}`.
        features: Kinds of vectors, see `feature_matrix`; none for all that the cohort has.
        clinical: Facts of the clinical model; None for those of `DEFAULT_FACTS` that are there, () for no such model.
        folds: Outer folds.
        seed: Of folds and networks.
        say: Called with one line a step.

    Raises:
        CohortError: Too few patients or events.
        UsageError: `features` or `clinical` ask for the outcome itself.
    """
    features = features or _features_without_outcome(cohort, (time, event), say)
    _refuse_captions(features)
    check_risk_features(cohort, features, (time, event))
    target = read_survival(cohort, time, event)
    check_size(target, folds)
    facts = [cohort.facts.get(str(patient), {}) for patient in target.patients]
    keys = _clinical_keys(facts, clinical, (time, event))
    numbers = fold_numbers(target.strata, folds, seed)
    landmarks = tuple(month for month in LANDMARKS if month < float(np.quantile(target.months, 0.9)))
    reference = clinical_risk_out_of_fold(facts, target, keys, numbers) if keys else None
    models = []
    if reference is not None:
        models.append(RiskModel(CLINICAL, score_risk(reference, target, None, landmarks), reference, (), True))
    for name, (model, grid) in product(features, grids.items()):
        bags = make_bags(cohort, name, target.patients)
        found = cross_validate(bags, target, grid, numbers, seed, partial(_say_step, say, f"{name}, {model}"))
        risk = found.scores[:, 0]
        scores = score_risk(risk, target, reference, landmarks)
        models.append(RiskModel(f"{name}, {model}", scores, risk, found.choices, reads_notes(name)))
    return SurvivalEvaluation(time, event, target, folds, keys, tuple(models), landmarks)


def _say_step(say: Say, model: str, line: str) -> None:
    say(f"{model}: {line}")


def _features_without_outcome(cohort: EmbeddedCohort, keys: tuple[str, str], say: Say) -> tuple[str, ...]:
    """All that the cohort has but notes that tell the outcome."""
    features = available_features(cohort)
    told = tells_outcome(cohort, keys)
    if not told:
        return features
    say(f"leaving out what reads the notes, which tell {', '.join(told)}")
    return tuple(name for name in features if not reads_notes(name))


def _refuse_captions(features: Sequence[str]) -> None:
    if any("caption" in name.split("+") for name in features):
        raise UsageError("Full captions may tell the outcome, so no risk is learned from them. Leave 'caption' out.")


def _clinical_keys(
    facts: Sequence[Mapping[str, str]], asked: Sequence[str] | None, outcome: tuple[str, str]
) -> tuple[str, ...]:
    """The facts of the clinical model; asking for the outcome is refused."""
    there = {key for own in facts for key in own}
    if asked is None:
        return tuple(key for key in DEFAULT_FACTS if key in there and key not in outcome)
    if set(asked) & set(outcome):
        raise UsageError("The clinical model may not read the outcome itself. Leave it out of --clinical.")
    missing = sorted(set(asked) - there)
    if missing:
        raise CohortError(f"No patient has the fact {missing[0]!r}. Facts that are there: {', '.join(sorted(there))}.")
    return tuple(asked)
