"""`haiku-edge demo`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from haiku_edge.export.evaluation.demonstration import MarkerAgreement, compare_with_truth
from haiku_edge.export.synthetic import Demo, write_demo
from haiku_edge.export.synthetic.spots import write_gene_truth
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.atomic import make_directory
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.inference import PredictOptions
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from . import predict


def run(out: Path, seed: int, *, only_slide: bool) -> None:
    """Write the demonstration slide, predict on it, and compare with what was painted."""
    terminal = Console(stderr=True)
    make_directory(out)
    with terminal.status("Simulating a section"):
        demo = write_demo(out, seed)
        genes = write_gene_truth(demo)
    for path in (demo.slide, demo.notes, demo.truth, genes):
        terminal.print(str(path), highlight=False, soft_wrap=True)
    if only_slide:
        terminal.print(RESEARCH_USE_ONLY, highlight=False)
        return
    _predict_and_compare(demo, out)


def _predict_and_compare(demo: Demo, out: Path) -> None:
    prediction = predict.run(demo.slide, demo.notes, PredictOptions(out=out, force=True), as_json=False)
    atlas = open_atlas(open_bundle(None))
    agreement = compare_with_truth(prediction.tiles, demo.truth, atlas.markers, atlas.mean, atlas.std)
    Console().print(_agreement_table(agreement))


def _agreement_table(agreement: tuple[MarkerAgreement, ...]) -> Table:
    table = Table(
        "Marker",
        "Pearson to the painted truth",
        "Without notes",
        "Ceiling",
        "Intervals that hold",
        title="Against the truth",
    )
    for row in agreement:
        figures = (row.pearson, row.without_notes, row.ceiling)
        table.add_row(row.marker, *(f"{value:.2f}" for value in figures), f"{100 * row.covered:.0f} %")
    means = [np.nanmean([getattr(row, name) for row in agreement]) for name in ("pearson", "without_notes", "ceiling")]
    covered = np.nanmean([row.covered for row in agreement])
    table.add_row("mean", *(f"{value:.2f}" for value in means), f"{100 * covered:.0f} %", style="bold")
    return table
