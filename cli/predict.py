"""`haiku-edge predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from haiku_edge.runtime.inference import Prediction, PredictOptions, predict
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.report.document import document_json
from haiku_edge.runtime.report.genes import experts_in_words, listed_genes
from haiku_edge.runtime.report.heads import answer, metrics_in_words
from haiku_edge.runtime.report.schema import Biomarker, Result
from haiku_edge.runtime.report.schema_spatial import Gene, SpatialSection

from .progress import on_terminal

_MOST_GENES = 12
"""Genes on the terminal: those farthest from average. result.json has all."""


def run(slide: Path, notes: Path | None, options: PredictOptions, *, as_json: bool) -> Prediction:
    """Predict, show a short table, and name the report."""
    with on_terminal() as progress:
        prediction = predict(slide, notes, options, progress)
    if as_json:
        typer.echo(document_json(prediction.result).decode(), nl=False)
    else:
        show(prediction.result, Console())
    progress.say(f"Report: {prediction.folder / 'report.html'}")
    return prediction


def show(result: Result, console: Console) -> None:
    """Print the warnings, a row a marker and a row a gene."""
    for warning in result.warnings:
        console.print(f"! {warning}", style="yellow", highlight=False, markup=False)
    tiles = result.tiles
    console.print(
        f"{tiles.predicted} tiles predicted, {tiles.abstained} abstained; of {tiles.grid} on the grid "
        f"{tiles.background} background, {tiles.pen} pen, {tiles.fold} fold, {tiles.blur} blurred, "
        f"{tiles.unreadable} unreadable. {result.timing['total']:.1f} s before writing.",
        highlight=False,
    )
    if result.biomarkers:
        console.print(_marker_table(result))
    for reason in _reasons({row.marker: row.reason for row in result.biomarkers}, "markers"):
        console.print(reason, highlight=False, markup=False)
    for head in result.heads:
        console.print(f"{head.target} ({head.name}): {answer(head)}", highlight=False, markup=False)
        for name, figure in metrics_in_words(head.metrics)[:1]:
            console.print(f"  cross-validation: {name} {figure}", highlight=False, markup=False)
    if result.spatial is not None:
        _show_genes(result.spatial, console)
    console.print(RESEARCH_USE_ONLY, style="bold", highlight=False)


def _marker_table(result: Result) -> Table:
    """One line a marker, narrow enough for a terminal of 80 columns."""
    coverage = "Interval" if result.calibration is None else f"{100 * result.calibration.coverage:.0f} % interval"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Marker", no_wrap=True)
    for name in ("z", coverage, "No notes", "Spread", "Measured by"):
        table.add_column(name, no_wrap=True, justify="right")
    for row in result.biomarkers:
        table.add_row(*_cells(row))
    return table


def _cells(row: Biomarker) -> tuple[str, ...]:
    if row.value is None:
        return (row.marker, "", row.status, "", "", "")
    interval = f"{row.low:+.2f} to {row.high:+.2f}" if row.low is not None and row.high is not None else "none"
    alone = row.without_notes.value
    return (
        row.marker,
        f"{row.value:+.2f}",
        interval,
        "" if alone is None else f"{alone:+.2f}",
        "" if row.spread is None else f"{row.spread:.2f}",
        f"{100 * row.measured_share:.0f} %",
    )


def _show_genes(found: SpatialSection, console: Console) -> None:
    """A row for each of the genes farthest from average, and a line on the experts."""
    console.print(_gene_table(found))
    if len(found.genes) > _MOST_GENES:
        remark = f"The {_MOST_GENES} of {len(found.genes)} genes farthest from average; result.json has all."
        console.print(remark, highlight=False)
    for reason in _reasons({gene.gene: gene.reason for gene in found.genes}, "genes"):
        console.print(reason, highlight=False, markup=False)
    console.print(experts_in_words(found), highlight=False)


def _gene_table(found: SpatialSection) -> Table:
    coverage = "Interval" if found.calibration is None else f"{100 * found.calibration.coverage:.0f} % interval"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Gene", no_wrap=True)
    for name in ("z", coverage, "Expression", "Spread"):
        table.add_column(name, no_wrap=True, justify="right")
    for gene in listed_genes(found.genes, _MOST_GENES):
        table.add_row(*_gene_cells(gene))
    return table


def _gene_cells(gene: Gene) -> tuple[Text | str, ...]:
    if gene.value is None:
        return (Text(gene.gene), "", gene.status, "", "")
    interval = f"{gene.low:+.2f} to {gene.high:+.2f}" if gene.low is not None and gene.high is not None else "none"
    expression, spread = ("" if value is None else f"{value:.2f}" for value in (gene.expression, gene.spread))
    return (Text(gene.gene), f"{gene.value:+.2f}", interval, expression, spread)


def _reasons(said: Mapping[str, str | None], kind: str) -> Iterator[str]:
    """Why markers or genes have no value, or none of an interval: each reason once, with their names."""
    reasons: dict[str, list[str]] = {}
    for name, reason in said.items():
        if reason is not None:
            reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        named = f"All {kind}" if len(names) == len(said) else ", ".join(names)
        yield f"{named}: {reason}."
