"""The head that ships: settings chosen by cross-validation, trained on every patient, with out-of-fold cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import nn

from haiku_edge.runtime.arrow import list_column, table_bytes
from haiku_edge.runtime.bundle import HeadSection
from haiku_edge.runtime.errors import CohortError, UsageError

from ..evaluation.embedded_cohort import EmbeddedCohort
from ..evaluation.tables import json_value
from .bags import Bags, make_bags
from .concordance import score_risk
from .folds import fold_numbers
from .graph import check_head, export_head
from .nested import Head, Say, cross_validate, quiet, train_head
from .network import HeadEnsemble, LinearProbe
from .notes import check_class_features, check_risk_features
from .probes import choose_strength, fit_probe, probe_out_of_fold, score_patients
from .scores import ClassScores, score_classes
from .settings import MilSettings, Settings
from .targets import ClassTarget, SurvivalTarget, Target, check_size, read_classes, read_survival

Features = Literal["he", "he+text"]
"""What a slide offers when a head runs: its H&E vectors, and the vector of its notes where there are some."""

_CHECKED_PATIENTS = 8


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head, ready to go into a bundle.

    Attributes:
        section: Its part of the manifest.
        contents: Path in the bundle → bytes of its graph and of its cases.
        difference_to_torch: Largest relative difference of the graph's outputs to torch's.
    """

    section: HeadSection
    contents: Mapping[str, bytes]
    difference_to_torch: float


def train_survival_head(
    cohort: EmbeddedCohort,
    *,
    name: str,
    time: str,
    event: str,
    features: Features,
    grid: Sequence[Settings],
    folds: int = 5,
    seed: int = 0,
    say: Say = quiet,
) -> TrainedHead:
    """Train a Cox head: `scores` (1, 1) is the log-risk less its mean over the training patients, higher is worse.

    Args:
        cohort: Patches of the training patients.
        name: Of the head, as outputs call it.
        time: Fact with the time.
        event: Fact with the event.
        features: What it reads.
        grid: Settings to choose from.
        folds: Outer folds of the out-of-fold cases.
        seed: Of everything.
        say: Called with one line a step.

    Raises:
        CohortError: Too few patients or events, or the notes' vectors know the outcome.
        UsageError: The settings are of a network that does not ship.
    """
    _check_ships(grid)
    check_risk_features(cohort, (features,), (time, event))
    target = read_survival(cohort, time, event)
    bags = _bags(cohort, features, target, folds)
    found = cross_validate(bags, target, grid, fold_numbers(target.strata, folds, seed), seed, say)
    scores = score_risk(found.scores[:, 0], target)
    head = train_head(bags, target, grid, seed)
    metrics = {"concordance": json_value(scores.concordance), "events": int(target.events.sum()), **_about(head, folds)}
    return _pack(name, "survival", features, target, bags, head, found.scores, metrics)


def train_slide_head(
    cohort: EmbeddedCohort,
    *,
    name: str,
    target: str,
    groups: Sequence[str] = (),
    features: Features,
    grid: Sequence[Settings],
    folds: int = 5,
    seed: int = 0,
    say: Say = quiet,
) -> TrainedHead:
    """Train a classifier of slides: `scores` (1, classes) are logits.

    Arguments and errors as `train_survival_head`; `target` is the fact, `groups` are its classes, see `read_classes`.
    """
    _check_ships(grid)
    classes, bags = _classes(cohort, features, target, groups, folds)
    found = cross_validate(bags, classes, grid, fold_numbers(classes.strata, folds, seed), seed, say)
    scores = score_classes(found.scores, classes.codes, np.arange(len(classes)), found.folds)
    head = train_head(bags, classes, grid, seed)
    metrics = {**_class_metrics(scores), **_about(head, folds)}
    return _pack(name, "slide_classifier", features, classes, bags, head, found.scores, metrics)


def train_tile_head(
    cohort: EmbeddedCohort,
    *,
    name: str,
    target: str,
    groups: Sequence[str] = (),
    features: Features,
    folds: int = 5,
    seed: int = 0,
) -> TrainedHead:
    """Train a linear probe of tiles: `scores` (n, classes) are log-probabilities up to a constant.

    A case is a tile here, so that probabilities of tiles are calibrated on tiles. Arguments and errors as
    `train_survival_head`.
    """
    classes, bags = _classes(cohort, features, target, groups, folds)
    codes = classes.codes[bags.owners]
    found = probe_out_of_fold(bags.vectors, codes, bags.owners, folds, seed)
    strength = choose_strength(bags.vectors, codes, bags.owners, seed)
    probe = _linear(fit_probe(bags.vectors, codes, strength))
    by_patient = _class_metrics(score_patients(found, bags.owners, classes.codes))
    metrics = {**by_patient, "folds": folds, "inverse_penalty": strength}
    graph = export_head(probe, bags.vectors.shape[1], ("scores",))
    cases = write_cases(classes.select(bags.owners), found.values)
    return _finish(name, "tile_classifier", features, classes, bags, (probe, graph), cases, metrics)


def write_cases(target: Target, scores: NDArray[np.float64]) -> bytes:
    """Write the out-of-fold scores as an Arrow file, one row a case: a patient, or a tile of a tile classifier.

    Columns: patient (string), scores (fixed-size list of float32), label (string, '' for survival), time (float32,
    months, NaN for a class), event (bool, False for a class).
    """
    months, events = np.full(len(target), np.nan), np.zeros(len(target), np.bool_)
    if isinstance(target, SurvivalTarget):
        months, events = target.months, target.events
    table = pa.table(
        {
            "patient": pa.array(target.patients.tolist(), pa.string()),
            "scores": list_column(scores),
            "label": pa.array(_labels(target), pa.string()),
            "time": pa.array(months, pa.float32()),
            "event": pa.array(events, pa.bool_()),
        }
    )
    return table_bytes(table)


def _check_ships(grid: Sequence[Settings]) -> None:
    """Refuse what would depend on the order of a slide's tiles, or whose score is no log-risk."""
    for settings in grid:
        if isinstance(settings, MilSettings) and (settings.network == "transmil" or settings.bins):
            raise UsageError(
                "TransMIL and heads of hazards are for comparison, and no bundle holds them: one depends on the order "
                "of the tiles, the other tells no log-risk. Choose --preset mil, abmil or ridge."
            )


def _classes(
    cohort: EmbeddedCohort, features: Features, fact: str, groups: Sequence[str], folds: int
) -> tuple[ClassTarget, Bags]:
    """The classes of the patients and their vectors, where the cohort may and can teach them."""
    check_class_features(cohort, features, fact)
    classes = read_classes(cohort, fact, groups)
    return classes, _bags(cohort, features, classes, folds)


def _bags(cohort: EmbeddedCohort, features: Features, target: Target, folds: int) -> Bags:
    """The vectors of the patients whose answer is known, where they are enough for so many folds."""
    check_size(target, folds)
    return make_bags(cohort, features, target.patients)


def _pack(
    name: str,
    kind: Literal["slide_classifier", "survival"],
    features: Features,
    target: Target,
    bags: Bags,
    head: Head,
    scores: NDArray[np.float64],
    metrics: dict[str, Any],
) -> TrainedHead:
    ensemble = HeadEnsemble(head.members, head.shift.astype(np.float32)).eval()
    graph = export_head(ensemble, bags.vectors.shape[1], ("scores", "attention"))
    return _finish(name, kind, features, target, bags, (ensemble, graph), write_cases(target, scores), metrics)


def _finish(
    name: str,
    kind: Literal["tile_classifier", "slide_classifier", "survival"],
    features: Features,
    target: Target,
    bags: Bags,
    head: tuple[nn.Module, bytes],
    cases: bytes,
    metrics: dict[str, Any],
) -> TrainedHead:
    """Compare the graph with torch, and name everything."""
    network, graph = head
    difference = check_head(network, graph, [bags.bag(i) for i in range(min(len(bags), _CHECKED_PATIENTS))])
    section = HeadSection(
        name=name,
        kind=kind,
        file=f"heads/{name}.onnx",
        features=features,
        target=target.name,
        classes=target.classes if isinstance(target, ClassTarget) else (),
        cases=f"heads/{name}.cases.arrow",
        patients=len(target),
        metrics=metrics,
    )
    return TrainedHead(section, {section.file: graph, section.cases: cases}, difference)


def _linear(model: Any) -> LinearProbe:
    """A fitted probe as one matrix: imputation does not matter for what towers give, scaling folds in."""
    scaler, logistic = model[1], model[2]
    weight, bias = logistic.coef_, logistic.intercept_
    if len(weight) == 1:
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaler.scale_
    bias = bias - weight @ scaler.mean_
    return LinearProbe(weight.astype(np.float32), bias.astype(np.float32)).eval()


def _class_metrics(scores: ClassScores) -> dict[str, Any]:
    found = json_value(scores)
    assert isinstance(found, dict)
    return found


def _about(head: Head, folds: int) -> dict[str, Any]:
    settings = dataclasses.asdict(head.choice.settings)
    return {"folds": folds, "members": len(head.members), "epochs": head.choice.epochs, "settings": settings}


def _labels(target: Target) -> list[str]:
    if isinstance(target, SurvivalTarget):
        return [""] * len(target)
    return [target.classes[code] for code in target.codes]


def check_dimension(cohort: EmbeddedCohort, dimension: int) -> None:
    """Refuse a cohort that another model embedded.

    Raises:
        CohortError: Its vectors have another length than the bundle's.
    """
    lengths = {matrix.shape[1] for name, matrix in cohort.vectors.items() if name in ("he", "text")}
    if lengths != {dimension}:
        raise CohortError(
            f"The cohort's vectors have {', '.join(map(str, sorted(lengths))) or 'no'} entries and the bundle's "
            f"{dimension}. Embed the cohort with this bundle: `haiku-edge embed`."
        )
