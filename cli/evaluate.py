"""`haiku-edge evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.console import Console

from haiku_edge.export.evaluation import evaluate_bundle, evaluation_metrics, render_evaluation
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.report.schema import RESEARCH_USE_ONLY


def run(bundle: Path | None, *, as_json: bool) -> None:
    """Simulate the bundle's held-out patients again, and print how it does on them."""
    opened = open_bundle(bundle)
    with Console(stderr=True).status("Simulating and embedding the held-out patients"):
        evaluation = evaluate_bundle(opened)
    if as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, **evaluation_metrics(evaluation)}, indent=2))
        return
    typer.echo(f"{opened.manifest.name} {opened.manifest.version}: {opened.manifest.statement}\n")
    typer.echo(render_evaluation(evaluation))
    typer.echo(RESEARCH_USE_ONLY)
