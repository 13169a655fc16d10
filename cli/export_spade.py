"""`haiku-edge export spade`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast, get_args

import typer

from haiku_edge.export.graph import Storage
from haiku_edge.export.spade.export import ExportedSpade, SpadeExportOptions, export_spade
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY, without_notice

from .export import stoppable
from .genes import read_genes
from .progress import on_terminal


def spade_options(*, genes: str, storage: str, **others: Any) -> SpadeExportOptions:
    """The options of the command line, checked."""
    if storage not in get_args(Storage):
        raise UsageError(f"--storage {storage} is none of {', '.join(get_args(Storage))}.")
    return SpadeExportOptions(genes=read_genes(genes), storage=cast(Storage, storage), **others)


def run_spade(checkpoint: Path, encoder: Path | None, out: Path, options: SpadeExportOptions, *, as_json: bool) -> None:
    """Export a mixture, and say what was made."""
    with stoppable(), on_terminal() as progress:
        exported = export_spade(checkpoint, encoder, out, options, progress)
    digest = open_bundle(out).digest
    if as_json:
        typer.echo(json.dumps(_as_json(exported, out, digest), indent=2, ensure_ascii=False))
        return
    for line in _lines(exported, out, digest):
        typer.echo(line)


def _lines(exported: ExportedSpade, out: Path, digest: str) -> list[str]:
    manifest = exported.manifest
    spade, size = manifest.need_spade(), sum(entry.size for entry in manifest.files.values())
    called = "" if manifest.name == out.name else f"the bundle {manifest.name}, "
    lines = [
        f"{out}: {called}{_told_size(size)}, digest {digest}",
        f"  {len(spade.experts)} experts; the fused graph differs from torch by at most {exported.difference:.1e}",
    ]
    if spade.atlas is None:
        lines.append("  It has no spots: it embeds, and `--atlas` gives it evidence to predict from.")
    else:
        lines.append(
            f"  {spade.atlas.patch_count:,} spots of {spade.atlas.patient_count} patients, {len(spade.atlas.markers)} "
            f"genes; searched by {spade.keys}, {spade.neighbours} neighbours"
        )
    for keys, scores in exported.search.items():
        told = ", ".join(f"{count}: {score:.3f}" for count, score in scores.items())
        lines.append(f"  Mean correlation with other patients' spots by number of neighbours, {keys}: {told}")
    lines += [f"  {stage}: {seconds:.0f} s" for stage, seconds in exported.seconds.items()]
    lines += [f"  Note: {remark}" for remark in exported.remarks]
    return [*lines, without_notice(manifest.statement), RESEARCH_USE_ONLY]


def _told_size(size: int) -> str:
    """Bytes in GB, or in MB below one GB."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _as_json(exported: ExportedSpade, out: Path, digest: str) -> dict[str, object]:
    return {
        "notice": RESEARCH_USE_ONLY,
        "bundle": str(out),
        "name": exported.manifest.name,
        "digest": digest,
        "statement": exported.manifest.statement,
        "largest_difference_to_torch": exported.difference,
        "search": {keys: {str(count): score for count, score in own.items()} for keys, own in exported.search.items()},
        "seconds": exported.seconds,
        "remarks": list(exported.remarks),
    }
