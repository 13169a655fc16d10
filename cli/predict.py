"""`haiku-edge predict`."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.inference import Prediction, PredictOptions, predict
from haiku_edge.runtime.report.document import result_json
from haiku_edge.runtime.report.schema import RESEARCH_USE_ONLY, Biomarker, Result

from .progress import TerminalProgress


def run(slide: Path, notes: Path | None, options: PredictOptions, *, as_json: bool) -> Prediction:
    """Predict, show a short table, and name the report."""
    terminal = Console(stderr=True)
    progress = TerminalProgress(terminal)
    try:
        prediction = predict(slide, notes, options, progress)
    finally:
        progress.finish()
    if as_json:
        typer.echo(result_json(prediction.result).decode(), nl=False)
    else:
        show(prediction.result, Console())
    terminal.print(f"Report: {prediction.folder / 'report.html'}", highlight=False, soft_wrap=True, markup=False)
    return prediction


def show(result: Result, console: Console) -> None:
    """Print the warnings and a row a marker."""
    for warning in result.warnings:
        console.print(f"! {warning}", style="yellow", highlight=False, markup=False)
    tiles = result.tiles
    console.print(
        f"{tiles.predicted} tiles predicted, {tiles.abstained} abstained; of {tiles.grid} on the grid "
        f"{tiles.background} background, {tiles.pen} pen, {tiles.fold} fold, {tiles.blur} blurred, "
        f"{tiles.unreadable} unreadable. {result.timing['total']:.1f} s before writing.",
        highlight=False,
    )
    console.print(_marker_table(result))
    console.print(RESEARCH_USE_ONLY, style="bold", highlight=False)


def _marker_table(result: Result) -> Table:
    coverage = f"{100 * result.calibration.coverage:.0f} %"
    table = Table("Marker", "Value (z)", f"{coverage} interval", "Without notes", "Spread", "Measured by")
    for row in result.biomarkers:
        table.add_row(*_cells(row))
    return table


def _cells(row: Biomarker) -> tuple[str, ...]:
    if row.value is None:
        return (row.marker, row.status, row.reason or "", "", "", "")
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
