"""What is asked of a patient: a class, or the time to an event; read from the clinical facts of a cohort."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError

UNKNOWN = frozenset({"", "nan", "na", "n/a", "none", "unknown", "not available", "not reported"})
"""How facts say that nobody knows."""

HAPPENED = frozenset({"1", "1.0", "true", "yes", "dead", "deceased", "died", "event", "recurred", "progressed"})
CENSORED = frozenset({"0", "0.0", "false", "no", "alive", "living", "censored", "none observed"})
_DAY = 12 / 365.25
_MONTHS_PER_UNIT = {"": 1.0, "m": 1.0, "mo": 1.0, "month": 1.0, "y": 12.0, "year": 12.0, "d": _DAY, "day": _DAY}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*?)s?")


class Cohort(Protocol):
    """Patches or spots of patients, of whom facts are known."""

    @property
    def patients(self) -> NDArray[np.str_]:
        """(n,) whose each is."""

    @property
    def facts(self) -> Mapping[str, Mapping[str, str]]:
        """Patient → clinical facts, in the notes' keys."""


@dataclass(frozen=True, slots=True)
class ClassTarget:
    """The class of each of p patients.

    Attributes:
        name: The fact.
        classes: Values of the fact, sorted.
        patients: (p,) str, sorted; those whose value is known.
        codes: (p,) int64, position in `classes`.
        left_out: Patients whose value is not known.
    """

    name: str
    classes: tuple[str, ...]
    patients: NDArray[np.str_]
    codes: NDArray[np.int64]
    left_out: int = 0

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @property
    def strata(self) -> NDArray[np.int64]:
        """(p,) what folds are balanced over: the class."""
        return self.codes

    def select(self, which: NDArray[np.int64]) -> ClassTarget:
        """The target of these patients."""
        return ClassTarget(self.name, self.classes, self.patients[which], self.codes[which])


@dataclass(frozen=True, slots=True)
class SurvivalTarget:
    """Time to an event or to the end of follow-up of each of p patients.

    Attributes:
        name: The fact that holds the time.
        patients: (p,) str, sorted; those whose time and event are known.
        months: (p,) float64, not negative.
        events: (p,) bool, False where censored.
        left_out: Patients whose time or event is not known.
    """

    name: str
    patients: NDArray[np.str_]
    months: NDArray[np.float64]
    events: NDArray[np.bool_]
    left_out: int = 0

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @property
    def strata(self) -> NDArray[np.int64]:
        """(p,) what folds are balanced over: whether the event happened."""
        return self.events.astype(np.int64)

    def select(self, which: NDArray[np.int64]) -> SurvivalTarget:
        """The target of these patients."""
        return SurvivalTarget(self.name, self.patients[which], self.months[which], self.events[which])


Target = ClassTarget | SurvivalTarget


def read_classes(cohort: Cohort, fact: str, groups: Sequence[str] = ()) -> ClassTarget:
    """Read a class of every patient.

    Args:
        cohort: The cohort.
        fact: The fact.
        groups: Values to tell apart, several of one class joined by '|', such as ('I|II', 'III|IV'); patients with
            other values are left out. None for every value as a class of its own.

    Raises:
        CohortError: Nobody has the fact or the class, or all patients have the same.
    """
    patients = np.unique(cohort.patients)
    values = [_grouped(value, groups) for value in _values(cohort, patients, fact)]
    known = np.array([value.lower() not in UNKNOWN for value in values])
    classes, codes = np.unique(np.array(values)[known], return_inverse=True)
    absent = sorted(set(groups) - set(classes.tolist()))
    if absent:
        raise CohortError(f"No patient has {fact!r} {absent[0]!r}. Check --classes; values are told apart by case.")
    if len(classes) < 2:
        raise CohortError(
            f"All {int(known.sum())} patients with known {fact!r} have the same, so there is nothing to tell apart. "
            "Choose another fact, or a cohort with both kinds."
        )
    names = tuple(map(str, classes))
    return ClassTarget(fact, names, patients[known], codes.astype(np.int64), int((~known).sum()))


def read_survival(cohort: Cohort, time: str, event: str) -> SurvivalTarget:
    """Read the time to an event of every patient.

    Args:
        cohort: The cohort.
        time: Fact with the time: a number of months, or a number with 'days', 'months' or 'years'.
        event: Fact with the event: 1, true, yes, dead, deceased … or 0, false, no, alive, censored …

    Raises:
        CohortError: Nobody has the facts, nobody had the event, or a value can't be read.
    """
    patients = np.unique(cohort.patients)
    months = np.array([_months(value, time) for value in _values(cohort, patients, time)])
    happened = np.array([_event(value, event) for value in _values(cohort, patients, event)])
    known = np.isfinite(months) & np.isfinite(happened)
    events = happened[known] == 1
    if not events.any():
        raise CohortError(
            f"None of the {int(known.sum())} patients with known {time!r} and {event!r} had the event, so no risk can "
            "be learned or measured. Choose another event, or follow the patients longer."
        )
    return SurvivalTarget(time, patients[known], months[known], events, int((~known).sum()))


def check_size(target: Target, folds: int) -> None:
    """Refuse a cohort too small for so many folds.

    Raises:
        CohortError: One patient, or fewer patients than folds in a class or with the event.
    """
    if len(target) < 2:
        raise CohortError("The cohort has one patient. Patients are what is compared: give at least ten.")
    if folds < 2:
        raise CohortError(f"{folds} fold leaves nothing to test on. Ask for 2 folds or more.")
    least = max(folds, 4 if folds == 2 else 3)
    advice = "Ask for fewer --folds (at least 2)" if folds > 2 else "Add patients"
    if isinstance(target, ClassTarget):
        counts = np.bincount(target.codes, minlength=len(target.classes)).tolist()
        few = [f"{name!r} ({n})" for name, n in zip(target.classes, counts, strict=True) if n < least]
        if few:
            raise CohortError(
                f"Too few patients have {target.name} {', '.join(few[:5])}: {folds} folds need {least} of each kind. "
                f"{advice}, or name the classes with --classes, joined by '|' where they are one."
            )
    elif target.events.sum() < least or len(target) < 2 * least:
        raise CohortError(
            f"{len(target)} patients with {int(target.events.sum())} events are too few: {folds} folds need {least} "
            f"events and {2 * least} patients. {advice}, or follow them longer."
        )


def _values(cohort: Cohort, patients: NDArray[np.str_], fact: str) -> list[str]:
    facts: list[Mapping[str, str]] = [cohort.facts.get(str(patient), {}) for patient in patients]
    if not any(fact in own for own in facts):
        there = sorted({key for own in facts for key in own})
        raise CohortError(
            f"No patient of the cohort has the fact {fact!r}. Facts that are there: {', '.join(there) or 'none'}."
        )
    return [str(own.get(fact, "")).strip() for own in facts]


def _grouped(value: str, groups: Sequence[str]) -> str:
    """The group of a value; '' where it is in none."""
    if not groups:
        return value
    return next((group for group in groups if value in group.split("|")), "")


def _months(value: str, fact: str) -> float:
    if value.lower() in UNKNOWN:
        return np.nan
    match = _TIME.fullmatch(value.lower())
    if match is None or match[2] not in _MONTHS_PER_UNIT:
        raise CohortError(
            f"A patient's {fact!r} is no time. Write a number of months, or a number with 'days', 'months' or 'years'."
        )
    return float(match[1]) * _MONTHS_PER_UNIT[match[2]]


def _event(value: str, fact: str) -> float:
    word = value.lower()
    if word in UNKNOWN:
        return np.nan
    if word not in HAPPENED | CENSORED:
        raise CohortError(
            f"A patient's {fact!r} says neither that the event happened nor that it did not. Write one of "
            f"{', '.join(sorted(HAPPENED))}; or of {', '.join(sorted(CENSORED))}."
        )
    return float(word in HAPPENED)
