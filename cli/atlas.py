"""`haiku-edge atlas build`, `add`, `verify` and `info`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from haiku_edge.export.atlas.add import AddSettings, add_to_bundle
from haiku_edge.export.atlas.from_regions import RegionSettings, build_from_regions
from haiku_edge.export.atlas.verify import atlas_info, verify_atlas
from haiku_edge.export.dataset import open_dataset
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from .progress import on_terminal


def run_build(regions: Path, out: Path, settings: RegionSettings) -> None:
    """Cut regions into an atlas folder."""
    with on_terminal() as progress:
        report = build_from_regions(regions, out, settings, progress=progress)
    used = sum(count > 0 for count in report.regions.values())
    typer.echo(f"{out}: {report.patches} patches of {used} regions, {len(report.skipped)} regions gave none.")
    for region, why in report.skipped.items():
        typer.echo(f"  {region}: {why}")
    for region, correlation in report.registration.items():
        typer.echo(f"  {region}: H&E and DAPI correlate by {correlation:.2f}")
    typer.echo(RESEARCH_USE_ONLY)


def run_add(bundle: Path | None, folder: Path, out: Path, mpp: float | None, settings: AddSettings) -> None:
    """Write a bundle with a dataset's patches as evidence."""
    with on_terminal() as progress:
        manifest = add_to_bundle(open_bundle(bundle), open_dataset(folder, mpp=mpp), out, settings, progress=progress)
    atlas, calibration = manifest.need_atlas(), manifest.calibration
    patients = 0 if calibration is None else calibration.patients
    typer.echo(
        f"{out}: {atlas.patch_count} patches of {atlas.patient_count} patients as evidence, {patients} patients for "
        f"calibration, {len(atlas.markers)} markers. {RESEARCH_USE_ONLY}"
    )


def run_verify(path: Path | None) -> bool:
    """Check an atlas; whether everything is as it should be."""
    with on_terminal() as progress:
        checks = verify_atlas(path, progress)
    for check in checks:
        typer.echo(f"{'ok' if check.passed else 'FAILED':6}  {check.name}: {check.finding}")
    typer.echo(RESEARCH_USE_ONLY)
    return all(check.passed for check in checks)


def run_info(path: Path | None, *, as_json: bool) -> None:
    """Say what an atlas holds."""
    info = atlas_info(path)
    if as_json:
        typer.echo(json.dumps(info, indent=2, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None)
    for key, value in _rows(info):
        table.add_row(key, value)
    Console().print(table)
    typer.echo(RESEARCH_USE_ONLY)


def _rows(info: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """A row a fact; what is said of a second atlas, the spots, has rows of its own."""
    for key, value in info.items():
        if key == "spots" and isinstance(value, dict):
            yield from _rows(value, "spots: ")
        else:
            shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
            yield before + key.replace("_", " "), shown
