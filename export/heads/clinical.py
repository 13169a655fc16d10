"""The Cox model of clinical facts alone: what any image must beat."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.exceptions import ConvergenceError
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError

from .targets import UNKNOWN, SurvivalTarget

DEFAULT_FACTS = ("age", "sex", "stage", "grade")
"""Facts known at diagnosis that most registries have; those that the cohort has are taken."""

PENALTY = 0.1
"""Ridge penalty of the standardised facts: a handful of facts and some tens of events need one."""

_ROMAN = {"0": 0.0, "i": 1.0, "ii": 2.0, "iii": 3.0, "iv": 4.0}


@dataclass(frozen=True, slots=True)
class ClinicalCoding:
    """How facts become numbers, learned from training patients.

    Attributes:
        columns: (fact, value): a number where value is None, else 1 where the fact has that value.
        mean: (c,) of the training patients.
        deviation: (c,) of the training patients.
    """

    columns: tuple[tuple[str, str | None], ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def code(self, facts: Sequence[Mapping[str, str]]) -> NDArray[np.float64]:
        """(p, c) standardised; a number that is not known is the mean."""
        values = _raw(facts, self.columns)
        return np.asarray(np.nan_to_num((values - self.mean) / self.deviation))


def number_of(value: str) -> float:
    """A fact as a number: itself, a stage group's Roman numeral ('IIB' is 2), or an age told as '90+'; else NaN."""
    stem = value.strip().lower().removeprefix("stage").strip().rstrip("+")
    if stem.rstrip("abc") in _ROMAN:
        return _ROMAN[stem.rstrip("abc")]
    try:
        return float(stem)
    except ValueError:
        return float("nan")


def learn_coding(facts: Sequence[Mapping[str, str]], keys: Sequence[str]) -> ClinicalCoding:
    """Choose columns: one for a fact whose known values are numbers or stages, else one a value but the first."""
    columns: list[tuple[str, str | None]] = []
    for key in keys:
        known = sorted({own.get(key, "") for own in facts if own.get(key, "").lower() not in UNKNOWN})
        if known and all(np.isfinite(number_of(value)) for value in known):
            columns.append((key, None))
        else:
            columns += [(key, value) for value in known[1:]]
    values = np.ma.masked_invalid(_raw(facts, columns))
    deviation = values.std(axis=0).filled(0.0)
    varies = deviation > 1e-9
    if not varies.any():
        raise CohortError(
            f"The clinical facts {', '.join(keys)} are the same for all training patients. Choose others with "
            "--clinical."
        )
    chosen = tuple(column for column, use in zip(columns, varies, strict=True) if use)
    return ClinicalCoding(chosen, values.mean(axis=0).filled(0.0)[varies], deviation[varies])


def clinical_risk(
    train: Sequence[Mapping[str, str]], target: SurvivalTarget, test: Sequence[Mapping[str, str]], keys: Sequence[str]
) -> NDArray[np.float64]:
    """Fit a ridge-penalised Cox model to training patients and score others.

    Args:
        train: Facts of the training patients.
        target: Of the same patients.
        test: Facts of the patients to score.
        keys: Facts that it may use.

    Returns:
        (p,) log-risk relative to the training mean, higher is worse.

    Raises:
        CohortError: The model can't be fitted.
    """
    coding = learn_coding(train, keys)
    names = [f"x{i}" for i in range(len(coding.columns))]
    frame = pd.DataFrame(coding.code(train), columns=names).assign(months=target.months, event=target.events)
    frame["months"] = frame["months"].clip(lower=1e-3)
    model = CoxPHFitter(penalizer=PENALTY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(frame, "months", "event")
    except (ConvergenceError, ValueError, np.linalg.LinAlgError) as error:
        raise CohortError(
            f"The Cox model of {', '.join(keys)} can't be fitted ({type(error).__name__}). Choose other facts with "
            "--clinical."
        ) from None
    return np.asarray(coding.code(test) @ model.params_[names].to_numpy(), np.float64)


def clinical_risk_out_of_fold(
    facts: Sequence[Mapping[str, str]], target: SurvivalTarget, keys: Sequence[str], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(p,) log-risk of every patient from a model fitted without them."""
    risk = np.zeros(len(facts))
    for fold in range(int(folds.max()) + 1):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        own, new = [facts[i] for i in inside.tolist()], [facts[i] for i in outside.tolist()]
        risk[outside] = clinical_risk(own, target.select(inside), new, keys)
    return risk


def _raw(facts: Sequence[Mapping[str, str]], columns: Sequence[tuple[str, str | None]]) -> NDArray[np.float64]:
    rows = [
        [number_of(own.get(key, "")) if value is None else float(own.get(key, "") == value) for key, value in columns]
        for own in facts
    ]
    return np.array(rows, np.float64).reshape(len(facts), len(columns))
