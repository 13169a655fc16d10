"""`haiku-edge spots build` and `info`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
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
    for key, shown in _summary(info).items():
        summary.add_row(key, escape(shown))
    console = Console()
    console.print(summary)
    console.print(_sections(info["sections"]))
    typer.echo(RESEARCH_USE_ONLY)


def _summary(info: Mapping[str, Any]) -> dict[str, str]:
    """What a dataset holds, for people."""
    return {
        "name": info["name"],
        "spots": f"{info['spots']:,}",
        "patients": str(info["patients"]),
        "organs (sections)": _counted(info["organs"]),
        "facts (patients)": _counted(info["facts"]),
        "genes": f"{len(info['genes']):,} (--json names them)",
        "patches": f"{info['size']} px at {info['mpp']:g} µm/px",
        "synthetic": "yes" if info["synthetic"] else "no",
        "selection of genes": _selection(info["selection"]),
    }


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _selection(selection: Mapping[str, Any]) -> str:
    """How genes were chosen, in words; what `spots build` does not write is told as it stands."""
    words = {
        "variable_genes_per_section": "the {:,} most variable genes of each section",
        "common_genes": "of {:,} genes that the sections share",
        "least_common_genes": "a section that leaves fewer than {:,} in common is left out",
    }
    told = [text.format(selection[key]) for key, text in words.items() if isinstance(selection.get(key), int)]
    others = {key: value for key, value in selection.items() if key not in words}
    if isinstance(others.get("left_out"), Mapping):
        told += [f"{section} is left out: {why}" for section, why in others.pop("left_out").items()]
    return "; ".join([*told, *(f"{key.replace('_', ' ')}: {value}" for key, value in others.items())]) or "not stated"


def _facts(dataset: SpotDataset) -> dict[str, int]:
    """Name of a clinical fact → patients who have it, in the order in which sections name them."""
    owners: dict[str, set[str]] = {}
    for section in dataset.sections:
        for name in section.facts:
            owners.setdefault(name, set()).add(section.patient)
    return {name: len(patients) for name, patients in owners.items()}


def _info(dataset: SpotDataset) -> dict[str, Any]:
    keys = ("section", "patient", "organ", "spots")
    return {
        "name": dataset.name,
        "spots": sum(section.spots for section in dataset.sections),
        "patients": len({section.patient for section in dataset.sections}),
        "organs": dict(Counter(section.organ for section in dataset.sections)),
        "facts": _facts(dataset),
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
