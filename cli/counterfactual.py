"""`haiku-edge counterfactual` and `haiku-edge evaluate counterfactual`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.counterfactual import (
    Counterfactual,
    CounterfactualOptions,
    CounterfactualResult,
    counterfactual,
)
from haiku_edge.runtime.counterfactual.edits import parse_sets
from haiku_edge.runtime.counterfactual.schema import EXPLORATORY, MarkerChange
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.report.document import document_json

from .progress import on_terminal

_SHOWN = 12


def run(
    slide: Path, notes: Path, sets: Sequence[str], options: CounterfactualOptions, *, as_json: bool
) -> Counterfactual:
    """Compare the evidence under both notes, show a short table, and name the report."""
    with on_terminal() as progress:
        done = counterfactual(slide, notes, sets, options, progress)
    if as_json:
        typer.echo(document_json(done.result).decode(), nl=False)
    else:
        show(done.result, Console())
    progress.say(f"Report: {done.folder / 'report.html'}")
    return done


def run_cohort(
    cohort: Path,
    sets: Sequence[str],
    where: Sequence[str],
    options: CounterfactualOptions,
    *,
    least_patches: int,
    own: bool,
    as_json: bool,
    out: Path | None = None,
) -> None:
    """Edit the same facts of every patient of a cohort, and print what changes over patients.

    Args:
        cohort: What `haiku-edge embed` wrote.
        sets: Edits, FIELD=VALUE each.
        where: Which patients, FIELD=VALUE each.
        options: Bundle, fusion, weight and neighbours; the rest is for slides.
        least_patches: Patches that a patient needs.
        own: Search the cohort's own mIF patches, not the bundle's atlas.
        as_json: Print JSON, and nothing else on standard output.
        out: File for the same JSON.
    """
    from haiku_edge.export.evaluation.counterfactual import atlas_gallery, cohort_counterfactual, own_gallery
    from haiku_edge.export.evaluation.counterfactual_render import cohort_metrics, render_cohort_effect
    from haiku_edge.export.evaluation.embedded_cohort import read_cohort
    from haiku_edge.runtime.atlas import open_atlas
    from haiku_edge.runtime.bundle import open_bundle
    from haiku_edge.runtime.counterfactual import embed_prompts

    edits, patients = parse_sets(sets), _conditions(where)
    bundle, embedded = open_bundle(options.bundle), read_cohort(cohort)
    with Console(stderr=True).status("Comparing the evidence of every patient"):
        effect = cohort_counterfactual(
            embedded,
            edits,
            lambda prompts: embed_prompts(bundle, prompts).vectors,
            own_gallery(embedded) if own else atlas_gallery(open_atlas(bundle)),
            options.search(None),
            where=patients,
            least_patches=least_patches,
            random_edits=options.random_edits,
        )
    found = {"notice": RESEARCH_USE_ONLY, "exploratory": EXPLORATORY, **cohort_metrics(effect)}
    text = json.dumps(found, ensure_ascii=False, indent=2)
    if out is not None:
        atomic_write(out, (text + "\n").encode())
    if as_json:
        typer.echo(text)
        return
    typer.echo(render_cohort_effect(effect))
    typer.echo(RESEARCH_USE_ONLY)


def _conditions(where: Sequence[str]) -> Mapping[str, str]:
    return dict(parse_sets(where, option="--where")) if where else {}


def show(result: CounterfactualResult, console: Console) -> None:
    """Print the warnings and the markers that change most."""
    for warning in result.warnings:
        console.print(f"! {warning}", style="yellow", highlight=False, markup=False)
    table = Table("Marker", "Before", "After", "Difference, points", "95 % interval", "d_z", "q", "Random edits, p")
    for row in result.markers[:_SHOWN]:
        table.add_row(*_cells(row))
    console.print(
        f"{result.tiles.used} tiles in {result.blocks.count} blocks; {100 * result.gallery.renewed:.0f} % of the "
        f"evidence is new. {result.timing['total']:.1f} s before writing.",
        highlight=False,
    )
    console.print(table)
    console.print(result.exploratory, highlight=False)
    console.print(RESEARCH_USE_ONLY, style="bold", highlight=False)


def _cells(row: MarkerChange) -> tuple[str, ...]:
    if row.before is None or row.after is None or row.difference is None:
        return (row.marker, "", "", "not measured", "", "", "", "")
    interval = "" if row.low is None or row.high is None else f"{100 * row.low:+.2f} to {100 * row.high:+.2f}"
    return (
        row.marker,
        f"{100 * row.before:.1f} %",
        f"{100 * row.after:.1f} %",
        f"{100 * row.difference:+.2f}",
        interval,
        *("" if value is None else f"{value:.2f}" for value in (row.effect_size,)),
        *("" if value is None else f"{value:.3f}" for value in (row.q, row.random_p)),
    )
