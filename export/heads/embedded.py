"""The heads of the embedded bundle, and how they do where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import HeadSection
from haiku_edge.runtime.errors import CohortError
from haiku_edge.runtime.inference.heads import read_head_cases

from ..evaluation.bootstrap import Estimate
from ..evaluation.embedded_cohort import EmbeddedCohort
from ..graph.compare import session
from ..synthetic import Patient, known_facts
from ..synthetic.patient import log_hazard
from .bags import Bags, make_bags
from .clinical import DEFAULT_FACTS, clinical_risk, clinical_risk_out_of_fold
from .concordance import score_risk
from .folds import fold_numbers
from .nested import Say, quiet
from .scores import ClassScores, read_class_scores, score_classes
from .settings import preset
from .targets import SurvivalTarget, Target, check_size, read_classes, read_survival
from .train import TrainedHead, train_slide_head, train_survival_head

TIME, EVENT, GRADE = "survival", "survival_status", "grade"
FOLDS = (5, 3, 2)
"""Folds that are tried: a bundle made for a test has few patients."""


def embedded_heads(cohort: EmbeddedCohort, seed: int, say: Say = quiet) -> tuple[TrainedHead, ...]:
    """Train the two heads that the embedded bundle ships.

    `grade` reads the H&E alone, which shows it; `overall-survival` reads H&E and notes.

    Args:
        cohort: Patches of the atlas and calibration patients, and of nobody else: the towers have seen what became of
            their own training patients, and the test patients are for measuring.
        seed: Of everything.
        say: Called with one line a step.

    Returns:
        The heads; fewer where a small cohort has too few patients of a kind.
    """
    heads = []
    if folds := _folds(lambda: read_classes(cohort, GRADE)):
        heads.append(
            train_slide_head(
                cohort, name="grade", target=GRADE, features="he", grid=preset("mil"), folds=folds, seed=seed, say=say
            )
        )
    if folds := _folds(lambda: read_survival(cohort, TIME, EVENT)):
        heads.append(
            train_survival_head(
                cohort,
                name="overall-survival",
                time=TIME,
                event=EVENT,
                features="he+text",
                grid=preset("mil"),
                folds=folds,
                seed=seed,
                say=say,
            )
        )
    return tuple(heads)


@dataclass(frozen=True, slots=True)
class RiskRow:
    """C-index of one way to order simulated patients.

    Attributes:
        name: What orders them.
        cross_validated: On the head's training patients, out of fold (a truth needs no fold).
        held_out: On the test patients.
    """

    name: str
    cross_validated: Estimate
    held_out: Estimate


@dataclass(frozen=True, slots=True)
class SyntheticSurvival:
    """A survival head against the truth.

    Attributes:
        rows: The oracle, what facts and tissue could tell, the head, clinical facts alone.
        patients: Training patients of the head.
        events: Deaths among them.
        held_out_patients: Test patients.
        held_out_events: Deaths among them.
    """

    rows: tuple[RiskRow, ...]
    patients: int
    events: int
    held_out_patients: int
    held_out_events: int


def score_survival(
    section: HeadSection, graph: bytes, cases: bytes, patients: Sequence[Patient], held_out: EmbeddedCohort
) -> SyntheticSurvival:
    """Compare a bundle's survival head with the simulator's own hazard, on training and on test patients.

    Args:
        section: The head's part of the manifest.
        graph: Its ONNX graph.
        cases: Its table of out-of-fold scores.
        patients: At least the head's training patients and the test patients, from `simulate_cohort`.
        held_out: The embedded test patients.

    Raises:
        CohortError: No test patient died.
    """
    known = {patient.identifier: patient for patient in patients}
    stored = read_head_cases(cases, section)
    train = SurvivalTarget(TIME, stored.patients, stored.months, stored.events)
    test = read_survival(held_out, TIME, EVENT)
    own = [known[str(name)] for name in train.patients]
    new = [known[str(name)] for name in test.patients]
    facts, new_facts = [known_facts(one.facts) for one in own], [known_facts(one.facts) for one in new]
    numbers = fold_numbers(train.strata, min(FOLDS[0], int(train.strata.sum())), 0)
    scored = run_head(graph, make_bags(held_out, section.features, test.patients))[:, 0]
    orders = (
        ("oracle: the true hazard", _hazards(own), _hazards(new)),
        ("all that facts and tissue tell", _visible(own), _visible(new)),
        (f"head {section.name} ({section.features})", stored.scores[:, 0], scored),
        (
            "clinical facts alone (Cox)",
            clinical_risk_out_of_fold(facts, train, DEFAULT_FACTS, numbers),
            clinical_risk(facts, train, new_facts, DEFAULT_FACTS),
        ),
    )
    rows = tuple(
        RiskRow(name, score_risk(inside, train).concordance, score_risk(outside, test).concordance)
        for name, inside, outside in orders
    )
    return SyntheticSurvival(rows, len(train), int(train.events.sum()), len(test), int(test.events.sum()))


@dataclass(frozen=True, slots=True)
class SyntheticClasses:
    """A slide classifier on simulated patients.

    Attributes:
        name: The head.
        classes: Its classes.
        cross_validated: On its training patients, by the nested cross-validation that came with the training.
        held_out: On the test patients.
        patients: Training patients of the head.
        held_out_patients: Test patients.
    """

    name: str
    classes: tuple[str, ...]
    cross_validated: ClassScores
    held_out: ClassScores
    patients: int
    held_out_patients: int


def score_classifier(section: HeadSection, graph: bytes, held_out: EmbeddedCohort) -> SyntheticClasses:
    """Score a bundle's slide classifier on test patients, beside what its manifest says of its training patients.

    The cases that ship are for calibration: what folds of other shares of the classes say is not ranked together.

    Raises:
        CohortError: The test patients lack the fact.
    """
    test = read_classes(held_out, section.target)
    codes = np.array([section.classes.index(test.classes[code]) for code in test.codes], np.int64)
    scored = run_head(graph, make_bags(held_out, section.features, test.patients))
    outside = score_classes(scored, codes, np.arange(len(test)))
    inside = read_class_scores(section.metrics)
    return SyntheticClasses(section.name, section.classes, inside, outside, section.patients, len(test))


def run_head(graph: bytes, bags: Bags) -> NDArray[np.float64]:
    """(p, outputs) scores of a head's graph for every patient."""
    opened = session(graph, threads=1)
    return np.concatenate([opened.run(["scores"], {"vectors": bags.bag(i)})[0] for i in range(len(bags))]).astype(
        np.float64
    )


def _folds(read: Callable[[], Target]) -> int:
    """The most folds that the cohort has patients for, or 0."""
    for folds in FOLDS:
        with suppress(CohortError):
            check_size(read(), folds)
            return folds
    return 0


def _hazards(patients: Sequence[Patient]) -> NDArray[np.float64]:
    return np.array([patient.hazard for patient in patients])


def _visible(patients: Sequence[Patient]) -> NDArray[np.float64]:
    """The hazard without its hidden part, cytotoxicity."""
    return np.array([log_hazard(replace(patient.biology, cytotoxicity=0.0)) for patient in patients])
