"""`haiku-edge evaluate spade …`: what each part of the SPADE evaluation answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from haiku_edge.export.evaluation.spade import (
    UNITS,
    Search,
    compare_routing,
    expression_figures,
    few_shot_figures,
    read_spot_cohort,
    render_expression,
    render_few_shot,
    render_routing,
    render_slides,
    routing_figures,
    score_expression,
    score_few_shot,
    score_slide_survival,
    score_slides,
    slide_figures,
)
from haiku_edge.export.evaluation.spade.slides import NETWORKS, RISK_NETWORKS
from haiku_edge.export.spade.experts import default_workers

from .answer import Answer
from .evaluate import working


def run_expression(cohort: Path, subject: str, search: Search) -> Answer:
    """Expression by retrieval."""
    with working("Searching"):
        found = score_expression(read_spot_cohort(cohort), subject, search)
    return Answer(render_expression(found), {"expression": expression_figures(found)})


def run_few_shot(cohort: Path, label: str, subject: str, *, draws: int) -> Answer:
    """Few-shot probes by patch and by slide."""
    with working("Probing"):
        spots = read_spot_cohort(cohort)
        found = {unit: score_few_shot(spots, label, unit, subject, draws=draws) for unit in UNITS}
    text = "\n\n".join(render_few_shot(one) for one in found.values())
    return Answer(text, {"few_shot": {unit: few_shot_figures(one) for unit, one in found.items()}})


def run_slides(
    cohort: Path,
    target: str,
    classes: Sequence[str],
    heads: Sequence[str],
    subject: str,
    *,
    folds: int,
    seed: int,
    workers: int | None,
) -> Answer:
    """Slide classifiers; without `heads`, all of them; without `workers`, one a core."""
    with working("Training") as say:
        found = score_slides(
            read_spot_cohort(cohort),
            target,
            subject,
            classes=classes,
            networks=heads or NETWORKS,
            folds=folds,
            seed=seed,
            workers=workers or default_workers("cpu", threads=1),
            say=say,
        )
    return Answer(render_slides(found), {"slides": slide_figures(found)})


def run_survival(
    cohort: Path,
    time: str,
    event: str,
    heads: Sequence[str],
    subject: str,
    *,
    folds: int,
    seed: int,
    workers: int | None,
) -> Answer:
    """Survival heads; without `heads`, all of them; without `workers`, one a core."""
    with working("Training") as say:
        found = score_slide_survival(
            read_spot_cohort(cohort),
            time,
            event,
            subject,
            networks=heads or RISK_NETWORKS,
            folds=folds,
            seed=seed,
            workers=workers or default_workers("cpu", threads=1),
            say=say,
        )
    return Answer(render_slides(found), {"survival": slide_figures(found)})


def run_routing(cohort: Path, subject: str, search: Search) -> Answer:
    """What other routing changes."""
    with working("Searching"):
        found = compare_routing(read_spot_cohort(cohort), subject, search)
    return Answer(render_routing(found), {"routing": routing_figures(found)})
