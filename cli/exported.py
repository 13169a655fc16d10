"""What an export says when its bundle is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import typer

from haiku_edge.runtime.bundle import Manifest, open_bundle
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY, without_notice


class Exported(Protocol):
    """What every export tells of itself."""

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Stage → wall time."""

    @property
    def remarks(self) -> Sequence[str]:
        """What a reader should know."""


def tell_exported(
    exported: Exported, out: Path, lines: Sequence[str], figures: Mapping[str, object], *, as_json: bool
) -> None:
    """Print what was made.

    Args:
        exported: The export.
        out: The bundle's folder.
        lines: What is told of this kind of bundle.
        figures: The same as JSON values.
        as_json: Print JSON, and nothing else.
    """
    manifest, digest = exported.manifest, open_bundle(out).digest
    if as_json:
        document = {
            "notice": RESEARCH_USE_ONLY,
            "bundle": str(out),
            "name": manifest.name,
            "digest": digest,
            "statement": manifest.statement,
            **figures,
            "seconds": dict(exported.seconds),
            "remarks": list(exported.remarks),
        }
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    called = "" if manifest.name == out.name else f"the bundle {manifest.name}, "
    typer.echo(f"{out}: {called}{_told_size(sum(entry.size for entry in manifest.files.values()))}, digest {digest}")
    stages = [f"{stage}: {seconds:.0f} s" for stage, seconds in exported.seconds.items()]
    for line in (*lines, *stages, *(f"Note: {remark}" for remark in exported.remarks)):
        typer.echo(f"  {line}")
    typer.echo(without_notice(manifest.statement))
    typer.echo(RESEARCH_USE_ONLY)


def _told_size(size: int) -> str:
    """Bytes in GB, or in MB below one GB."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
