"""`haiku-edge evaluate …`: run a task, print it, write it down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
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
from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY, without_notice


def run(bundle: Path | None, *, as_json: bool, out: Path | None = None, cohort_out: Path | None = None) -> None:
    """Simulate the bundle's held-out patients again, and print how it does on them; or only write them down."""
    opened = open_bundle(bundle)
    with working("Simulating and embedding the held-out patients"):
        if cohort_out is not None:
            write_cohort(cohort_out, embed_held_out(opened))
            typer.echo(f"{cohort_out}: {without_notice(opened.manifest.statement)} {RESEARCH_USE_ONLY}")
            return
        evaluation = evaluate_bundle(opened)
    tell(render_evaluation(evaluation), evaluation_metrics(evaluation), opened, as_json=as_json, out=out)


def run_retrieval(cohort: Path, labels: tuple[str, ...], *, published: bool, as_json: bool, out: Path | None) -> None:
    """Print retrieval among the modalities of a cohort."""
    with working("Ranking"):
        scores, agreement = retrieval_task(read_cohort(cohort), labels, published=published)
    figures = {"retrieval": json_value(scores), "index": json_value(agreement)}
    tell(render_retrieval(scores, agreement), figures, None, as_json=as_json, out=out)


def run_biomarkers(cohort: Path, bundle: Path | None, setting: Setting, *, as_json: bool, out: Path | None) -> None:
    """Print biomarker inference under the four galleries, from the cohort itself or from a bundle's atlas."""
    opened = None if bundle is None else open_bundle(bundle)
    with working("Inferring"):
        result, sweep = biomarker_task(read_cohort(cohort), opened, setting)
    figures = {"biomarkers": json_value(result), "sweep": json_value(sweep)}
    tell(render_biomarkers(result, sweep), figures, opened, as_json=as_json, out=out)


def run_zero_shot(cohort: Path, bundle: Path | None, label: str | None, *, as_json: bool, out: Path | None) -> None:
    """Print zero-shot classification by a bundle's text tower."""
    opened = open_bundle(bundle)
    with working("Classifying"):
        result = zero_shot_task(read_cohort(cohort), opened, label)
    tell(render_zero_shot(result), {"zero_shot": json_value(result)}, opened, as_json=as_json, out=out)


def run_knn(cohort: Path, label: str | None, *, as_json: bool, out: Path | None) -> None:
    """Print kNN classification."""
    with working("Classifying"):
        result = knn_task(read_cohort(cohort), label)
    tell(render_knn(result), {"knn": json_value(result)}, None, as_json=as_json, out=out)


def tell(text: str, figures: Mapping[str, object], bundle: Bundle | None, *, as_json: bool, out: Path | None) -> None:
    """Print a result as text or JSON, and write the JSON where that is asked for.

    Args:
        text: Markdown.
        figures: JSON values.
        bundle: The bundle that the figures are of; named in both.
        as_json: Print the JSON, and nothing else.
        out: File for the JSON, whole or not at all.
    """
    document: dict[str, object] = {"notice": RESEARCH_USE_ONLY}
    if bundle is not None:
        manifest = bundle.manifest
        document["bundle"] = {"name": manifest.name, "version": manifest.version, "digest": bundle.digest}
        text = f"{manifest.name} {manifest.version}: {without_notice(manifest.statement)}\n\n{text}"
    written = json.dumps({**document, **figures}, indent=2)
    if out is not None:
        atomic_write(out, f"{written}\n".encode())
    if as_json:
        typer.echo(written)
        return
    typer.echo(text.rstrip("\n"))
    typer.echo(f"\n{RESEARCH_USE_ONLY}")


@contextmanager
def telling(what: str) -> Iterator[Callable[[str], None]]:
    """Show on the terminal what is being done, and which step is."""
    with Console(stderr=True).status(what) as status:
        yield lambda line: status.update(f"{what}: {line}")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on the terminal what is being done."""
    with Console(stderr=True).status(what):
        yield
