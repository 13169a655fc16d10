"""`haiku-edge spots build` and `info`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from haiku_edge.export.spatial import SpotDataset, open_spots
from haiku_edge.export.spatial.build import SpotSettings, build_spots
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from .progress import on_terminal


def run_build(table: Path, out: Path, settings: SpotSettings) -> None:
    """Make a dataset of spots."""
    with on_terminal() as progress:
        dataset, report = build_spots(table, out, settings, progress=progress)
    typer.echo(
        f"{out}: {sum(report.spots.values())} spots of {len(dataset.sections)} sections, {report.genes} genes of "
        f"{report.common} in common, patches of {dataset.size} px at {dataset.mpp:g} µm/px."
    )
    for section, count in report.outside.items():
        if count:
            typer.echo(f"  {section}: {count} spots are too near the image's edge and were left out")
    for section, why in report.left_out.items():
        typer.echo(f"  {section} was left out: {why}")
    typer.echo(RESEARCH_USE_ONLY)


def run_info(path: Path, *, as_json: bool) -> None:
    """Say what a dataset of spots holds."""
    info = _info(open_spots(path))
    if as_json:
        typer.echo(json.dumps(info, indent=2, ensure_ascii=False))
        return
    summary = Table(show_header=False, box=None)
    for key in ("name", "spots", "patients", "organs", "genes", "size", "mpp", "synthetic", "selection"):
        value = len(info[key]) if key == "genes" else info[key]
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
        summary.add_row(key, escape(shown))
    console = Console()
    console.print(summary)
    console.print(_sections(info["sections"]))
    typer.echo(RESEARCH_USE_ONLY)


def _info(dataset: SpotDataset) -> dict[str, Any]:
    keys = ("section", "patient", "organ", "spots")
    return {
        "name": dataset.name,
        "spots": sum(section.spots for section in dataset.sections),
        "patients": len({section.patient for section in dataset.sections}),
        "organs": dict(Counter(section.organ for section in dataset.sections)),
        "size": dataset.size,
        "mpp": dataset.mpp,
        "synthetic": dataset.synthetic,
        "selection": dict(dataset.selection),
        "genes": list(dataset.genes),
        "sections": [
            {**{key: getattr(section, key) for key in keys}, "facts": dict(section.facts)}
            for section in dataset.sections
        ],
        "notice": RESEARCH_USE_ONLY,
    }


def _sections(sections: list[dict[str, Any]]) -> Table:
    table = Table("section", "patient", "organ", "spots", box=None)
    for section in sections:
        table.add_row(*(escape(str(section[key])) for key in ("section", "patient", "organ", "spots")))
    return table
