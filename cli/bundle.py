"""`haiku-edge bundle verify` and `haiku-edge bundle info`."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.bundle import bundle_info, open_bundle


def run_verify(path: Path | None) -> None:
    """Open the bundle, which checks every file, and say so."""
    bundle = open_bundle(path)
    count = len(bundle.manifest.files)
    typer.echo(
        f"{bundle.manifest.name} {bundle.manifest.version}: all {count} files are as shipped. Digest {bundle.digest}"
    )


def run_info(path: Path | None, *, as_json: bool) -> None:
    """Print what the bundle says about itself."""
    info = bundle_info(open_bundle(path))
    if as_json:
        typer.echo(json.dumps(info, indent=2, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None)
    for key, value in info.items():
        table.add_row(
            key.replace("_", " "),
            json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value),
        )
    Console().print(table)
