"""`haiku-edge evaluate probes|mil|survival` and `haiku-edge train head`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, read_cohort
from haiku_edge.export.evaluation.tables import json_value
from haiku_edge.export.heads import (
    Settings,
    TrainedHead,
    add_heads,
    check_addition,
    check_dimension,
    class_figures,
    evaluate_classes,
    evaluate_probes,
    evaluate_survival,
    preset,
    probe_figures,
    render_classes,
    render_head,
    render_probes,
    render_survival,
    survival_figures,
    train_slide_head,
    train_survival_head,
    train_tile_head,
)
from haiku_edge.export.heads.nested import Say
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import UsageError

from .answer import Answer
from .evaluate import working

REFERENCE = "ridge"
"""The linear reference beside every network."""

KINDS = ("tile", "slide", "survival")
"""What a head answers for: each tile, a slide, or a risk."""


@dataclass(frozen=True, slots=True)
class HeadRequest:
    """What `train head` was asked for.

    Attributes:
        kind: tile, slide or survival.
        name: Of the head in outputs.
        target: Fact that a classifier predicts.
        classes: Its classes; empty for all values.
        time: Fact with the time, for survival.
        event: Fact with the event, for survival.
        features: he or he+text.
        preset: Settings to choose from.
        folds: Outer folds.
        seed: Of everything.
        excluded: Patients who must not train it.
    """

    kind: str
    name: str
    target: str | None
    classes: tuple[str, ...]
    time: str
    event: str
    features: str
    preset: str
    folds: int
    seed: int
    excluded: tuple[str, ...]


def run_probes(
    cohort: Path, target: str, classes: Sequence[str], features: Sequence[str], *, folds: int, seed: int, leaking: bool
) -> Answer:
    """Linear probes of a fact."""
    with working("Probing") as say:
        found = evaluate_probes(
            read_cohort(cohort),
            target=target,
            classes=classes,
            features=features,
            folds=folds,
            seed=seed,
            leaking=leaking,
            say=say,
        )
    return Answer(render_probes(found), {"probes": probe_figures(found)})


def run_mil(
    cohort: Path, target: str, classes: Sequence[str], features: Sequence[str], settings: str, *, folds: int, seed: int
) -> Answer:
    """Attention MIL classification of patients."""
    with working("Training") as say:
        found = evaluate_classes(
            read_cohort(cohort),
            target=target,
            classes=classes,
            grids=_grids(settings),
            features=features,
            folds=folds,
            seed=seed,
            say=say,
        )
    return Answer(render_classes(found), {"mil": class_figures(found)})


def run_survival(
    cohort: Path,
    time: str,
    event: str,
    features: Sequence[str],
    settings: str,
    clinical: Sequence[str] | None,
    *,
    folds: int,
    seed: int,
) -> Answer:
    """Cox survival of patients; without `clinical`, against the usual facts."""
    with working("Training") as say:
        found = evaluate_survival(
            read_cohort(cohort),
            time=time,
            event=event,
            grids=_grids(settings),
            features=features,
            clinical=clinical,
            folds=folds,
            seed=seed,
            say=say,
        )
    return Answer(render_survival(found), {"survival": survival_figures(found)})


def run_train_head(cohort: Path, request: HeadRequest, bundle: Path | None, out: Path, *, force: bool) -> Answer:
    """Train a head on a cohort that the bundle embedded, and write a bundle that has it."""
    opened = open_bundle(bundle)
    patches = _without(read_cohort(cohort), request.excluded)
    check_dimension(patches, opened.manifest.embedding_dimension)
    check_addition(opened, (request.name,), out, force=force)
    with working("Training") as say:
        head = _train(patches, request, say)
        manifest = add_heads(opened, (head,), out, force=force)
    section = json_value(head.section.model_dump(mode="json"))
    figures = {"head": section, "heads": [one.name for one in manifest.heads]}
    return Answer(render_head(head.section) + f"\nWrote {out}.", figures, opened)


def _train(cohort: EmbeddedCohort, request: HeadRequest, say: Say) -> TrainedHead:
    if request.kind not in KINDS:
        raise UsageError(f"There is no head of the kind {request.kind!r}. Choose {', '.join(KINDS)}.")
    features = _head_features(request.features)
    folds, seed, name = request.folds, request.seed, request.name
    if request.kind == "survival":
        return train_survival_head(
            cohort,
            name=name,
            time=request.time,
            event=request.event,
            features=features,
            grid=preset(request.preset),
            folds=folds,
            seed=seed,
            say=say,
        )
    if request.target is None:
        raise UsageError("A classifier needs --target: the clinical fact that it predicts.")
    target, groups = request.target, request.classes
    if request.kind == "tile":
        return train_tile_head(
            cohort, name=name, target=target, groups=groups, features=features, folds=folds, seed=seed
        )
    return train_slide_head(
        cohort,
        name=name,
        target=target,
        groups=groups,
        features=features,
        grid=preset(request.preset),
        folds=folds,
        seed=seed,
        say=say,
    )


def _head_features(features: str) -> Literal["he", "he+text"]:
    if features == "he":
        return "he"
    if features == "he+text":
        return "he+text"
    raise UsageError("A head in a bundle reads what a slide offers: --features he, or he+text.")


def _without(cohort: EmbeddedCohort, excluded: tuple[str, ...]) -> EmbeddedCohort:
    unknown = set(excluded) - set(cohort.patients.tolist())
    if unknown:
        raise UsageError(f"{len(unknown)} of the patients in --exclude-patient are not in the cohort. Check the names.")
    return cohort.select(~np.isin(cohort.patients, list(excluded))) if excluded else cohort


def _grids(settings: str) -> dict[str, tuple[Settings, ...]]:
    return {settings: preset(settings), REFERENCE: preset(REFERENCE)}
