"""`haiku-edge evaluate …`: what each task answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from haiku_edge.export.evaluation import evaluate_bundle, evaluation_metrics, render_evaluation
from haiku_edge.export.evaluation.embedded_cohort import read_cohort, write_cohort
from haiku_edge.export.evaluation.evaluate import embed_held_out
from haiku_edge.export.evaluation.expression import Setting
from haiku_edge.export.evaluation.render_tasks import (
    render_biomarkers,
    render_knn,
    render_retrieval,
    render_zero_shot,
)
from haiku_edge.export.evaluation.tables import json_value
from haiku_edge.export.evaluation.tasks import biomarker_task, knn_task, retrieval_task, zero_shot_task
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY, without_notice

from .answer import Answer

_SIMULATING = "Simulating and embedding the held-out patients"


def run_held_out(bundle: Path | None) -> Answer:
    """How a bundle does on its held-out patients, simulated again."""
    opened = open_bundle(bundle)
    with working(_SIMULATING):
        evaluation = evaluate_bundle(opened)
    return Answer(render_evaluation(evaluation), evaluation_metrics(evaluation), opened)


def write_held_out(bundle: Path | None, out: Path) -> None:
    """Write a bundle's held-out patients, simulated again and embedded, as a cohort."""
    opened = open_bundle(bundle)
    with working(_SIMULATING):
        write_cohort(out, embed_held_out(opened))
    typer.echo(f"{out}: {without_notice(opened.manifest.statement)} {RESEARCH_USE_ONLY}")


def run_retrieval(cohort: Path, labels: tuple[str, ...], *, published: bool) -> Answer:
    """Retrieval among the modalities of a cohort."""
    with working("Ranking"):
        scores, agreement = retrieval_task(read_cohort(cohort), labels, published=published)
    figures = {"retrieval": json_value(scores), "index": json_value(agreement)}
    return Answer(render_retrieval(scores, agreement), figures)


def run_biomarkers(cohort: Path, bundle: Path | None, setting: Setting) -> Answer:
    """Biomarker inference under the four galleries, from the cohort itself or from a bundle's atlas."""
    opened = None if bundle is None else open_bundle(bundle)
    with working("Inferring"):
        result, sweep = biomarker_task(read_cohort(cohort), opened, setting)
    figures = {"biomarkers": json_value(result), "sweep": json_value(sweep)}
    return Answer(render_biomarkers(result, sweep), figures, opened)


def run_zero_shot(cohort: Path, bundle: Path | None, label: str | None) -> Answer:
    """Zero-shot classification by a bundle's text tower."""
    opened = open_bundle(bundle)
    with working("Classifying"):
        result = zero_shot_task(read_cohort(cohort), opened, label)
    return Answer(render_zero_shot(result), {"zero_shot": json_value(result)}, opened)


def run_knn(cohort: Path, label: str | None) -> Answer:
    """Classification by the nearest neighbours' vote."""
    with working("Classifying"):
        result = knn_task(read_cohort(cohort), label)
    return Answer(render_knn(result), {"knn": json_value(result)})


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Say on the terminal what is being done; what it yields says which step is."""
    with Console(stderr=True).status(what) as status:
        yield lambda line: status.update(f"{what}: {line}")
