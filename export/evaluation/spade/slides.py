"""Slide heads on bags of spots: gated ABMIL, TransMIL and the linear reference, nested folds of patients.

A bag is a patient with all of their sections, spots row by row. Classes are scored by AUROC, survival by the C-index,
and every representation is compared with the judged one on the same draws of patients, network by network.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import NativeCrashError, UsageError

from ...heads.bags import Bags
from ...heads.concordance import concordance
from ...heads.folds import fold_numbers
from ...heads.nested import Say, cross_validate, quiet
from ...heads.scores import class_samples, first_of, resample_patients
from ...heads.settings import PRESETS, Settings, preset
from ...heads.targets import ClassTarget, SurvivalTarget, Target, check_size, read_classes, read_survival
from ...training.loop import deterministic
from ...worker import end_with_parent
from ..bootstrap import Estimate
from .spot_cohort import SPADE, SpotCohort
from .verdict import Gain

NETWORKS = ("abmil", "transmil", "ridge")
"""Presets that classify slides."""

RISK_NETWORKS = ("abmil", "abmil-hazards", "transmil", "transmil-hazards", "ridge")
"""Presets that rank patients: by the Cox partial likelihood, or by hazards in stretches of time."""

FOLDS = 5

Samples = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class SlideScore:
    """One representation under one network.

    Attributes:
        name: The representation.
        network: Preset of its head.
        figures: Figure → its value over patients with an interval: 'AUROC', 'balanced accuracy' and 'macro F1' of
            classes, 'C-index' of survival.
    """

    name: str
    network: str
    figures: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class SlideGain:
    """The judged representation less a baseline under one network.

    Attributes:
        network: Preset of the heads.
        gain: Difference of the first figure.
    """

    network: str
    gain: Gain


@dataclass(frozen=True, slots=True)
class SlideResult:
    """Slide heads of one question.

    Attributes:
        subject: The judged representation.
        question: The fact that is predicted.
        patients: Patients with an answer.
        counts: Class → patients; 'died' and 'censored' for survival.
        left_out: Patients without an answer.
        folds: Outer folds.
        figure: The figure that gains compare.
        scores: Every representation under every network.
        gains: The judged representation less each baseline, network by network.
        learned_from: Representation → patients of the cohort whom it learned from.
    """

    subject: str
    question: str
    patients: int
    counts: Mapping[str, int]
    left_out: int
    folds: int
    figure: str
    scores: tuple[SlideScore, ...]
    gains: tuple[SlideGain, ...]
    learned_from: Mapping[str, int] = field(default_factory=dict)


def score_slides(
    cohort: SpotCohort,
    target: str,
    subject: str = SPADE,
    *,
    classes: Sequence[str] = (),
    networks: Sequence[str] = NETWORKS,
    folds: int = FOLDS,
    seed: int = 0,
    workers: int = 1,
    say: Say = quiet,
) -> SlideResult:
    """Cross-validate classifiers of patients for every representation.

    Args:
        cohort: The spots.
        target: The fact that is predicted.
        subject: The judged representation.
        classes: Its values that are told apart, see `read_classes`; none for all.
        networks: Presets, see `export.heads.settings`.
        folds: Outer folds.
        seed: Of folds and networks.
        workers: Heads that are cross-validated at once, each in a process of one thread; fewer than 2: in this
            process. Their number changes no score.
        say: Called with one line a step.

    Raises:
        CohortError: One patient, one class, or too few patients of a class.
        UsageError: There is no such representation or preset, it is one for survival, or none is named.
        NativeCrashError: A process ended by itself.
    """
    grids = _grids(networks)
    asked = read_classes(cohort, target, classes)

    def figures(scores: NDArray[np.float64], numbers: NDArray[np.int64]) -> Samples:
        samples = class_samples(scores, asked.codes, np.arange(len(asked)), numbers)
        return dict(zip(("AUROC", "balanced accuracy", "macro F1"), samples, strict=True))

    return _compare(cohort, subject, asked, grids, folds, seed, figures, workers, say)


def score_slide_survival(
    cohort: SpotCohort,
    time: str = "survival",
    event: str = "survival_status",
    subject: str = SPADE,
    *,
    networks: Sequence[str] = RISK_NETWORKS,
    folds: int = FOLDS,
    seed: int = 0,
    workers: int = 1,
    say: Say = quiet,
) -> SlideResult:
    """Cross-validate survival heads for every representation; arguments and errors as `score_slides`.

    Args:
        time: Fact with the time, see `read_survival`.
        event: Fact with the event.
    """
    grids = _grids(networks)
    asked = read_survival(cohort, time, event)
    weights = resample_patients(np.arange(len(asked)))

    def figures(scores: NDArray[np.float64], _: NDArray[np.int64]) -> Samples:
        return {"C-index": concordance(scores[:, 0], asked, weights)}

    return _compare(cohort, subject, asked, grids, folds, seed, figures, workers, say)


def spot_bags(cohort: SpotCohort, name: str, patients: NDArray[np.str_]) -> Bags:
    """The vectors of some patients, section by section and row by row."""
    order = np.lexsort((cohort.x, cohort.y, cohort.section_codes))
    rows = [order[cohort.patients[order] == patient] for patient in patients]
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Bags(patients, np.asarray(cohort.vectors[name][np.concatenate(rows)], np.float32), starts)


def _grids(networks: Sequence[str]) -> dict[str, tuple[Settings, ...]]:
    """The settings of the named presets, each once."""
    if not networks:
        raise UsageError(f"No head is named, so nothing is trained. Name at least one of {', '.join(PRESETS)}.")
    return {network: preset(network) for network in networks}


@dataclass(frozen=True, slots=True)
class _Job:
    """One cross-validation, as another process can be told of it."""

    name: str
    network: str
    bags: Bags
    asked: Target
    grid: tuple[Settings, ...]
    numbers: NDArray[np.int64]
    seed: int


def _validate(job: _Job) -> NDArray[np.float64]:
    """(p, outputs) out-of-fold scores; in one thread, since a training's sums depend on their number."""
    with deterministic(1):
        return cross_validate(job.bags, job.asked, job.grid, job.numbers, job.seed).scores


def _each(jobs: Sequence[_Job], workers: int) -> Iterator[NDArray[np.float64]]:
    """The scores of every job, in their order."""
    if min(workers, len(jobs)) <= 1:
        yield from map(_validate, jobs)
        return
    # Spawned: a fork of a process with threads may hang.
    with ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            yield from pool.map(_validate, jobs)
        except BrokenProcessPool:
            raise NativeCrashError(
                "A process that trained a head ended by itself, most often for want of memory. Train one after "
                "the other, which takes least of it: --workers 1."
            ) from None


def _begin() -> None:
    """Prepare a worker: Ctrl-C ends it at once, without a word of its own, and so does the end of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def _compare(
    cohort: SpotCohort,
    subject: str,
    asked: Target,
    grids: Mapping[str, tuple[Settings, ...]],
    folds: int,
    seed: int,
    figures: Callable[[NDArray[np.float64], NDArray[np.int64]], Samples],
    workers: int,
    say: Say,
) -> SlideResult:
    """Cross-validate every representation under every network, in the same folds."""
    baselines = cohort.baselines(subject)
    check_size(asked, folds)
    numbers = fold_numbers(asked.strata, folds, seed)
    bags = {name: spot_bags(cohort, name, asked.patients) for name in (subject, *baselines)}
    jobs = [
        _Job(name, network, own, asked, grid, numbers, seed)
        for name, own in bags.items()
        for network, grid in grids.items()
    ]
    found: dict[tuple[str, str], Samples] = {}
    for job, scores in zip(jobs, _each(jobs, workers), strict=True):
        say(f"{asked.name}: {job.name}, {job.network}")
        found[job.name, job.network] = figures(scores, numbers)
    main = next(iter(next(iter(found.values()))))
    gains = [
        SlideGain(network, Gain(name, first_of(found[subject, network][main] - found[name, network][main])))
        for network in grids
        for name in baselines
    ]
    told = [
        SlideScore(name, network, {figure: first_of(values) for figure, values in samples.items()})
        for (name, network), samples in found.items()
    ]
    return SlideResult(
        subject,
        asked.name,
        len(asked),
        _counts(asked),
        asked.left_out,
        folds,
        main,
        tuple(told),
        tuple(gains),
        cohort.taught,
    )


def _counts(asked: Target) -> dict[str, int]:
    if isinstance(asked, SurvivalTarget):
        died = int(asked.events.sum())
        return {"died": died, "censored": len(asked) - died}
    return _class_counts(asked)


def _class_counts(asked: ClassTarget) -> dict[str, int]:
    counts = np.bincount(asked.codes, minlength=len(asked.classes)).tolist()
    return dict(zip(asked.classes, counts, strict=True))
