"""`haiku-edge export spade`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

from haiku_edge.export.graph import Storage
from haiku_edge.export.spade.export import ExportedSpade, SpadeExportOptions, export_spade
from haiku_edge.runtime.errors import UsageError

from .export import stoppable
from .exported import tell_exported
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
    figures = {
        "largest_difference_to_torch": exported.difference,
        "search": {keys: {str(count): score for count, score in own.items()} for keys, own in exported.search.items()},
    }
    tell_exported(exported, out, _lines(exported), figures, as_json=as_json)


def _lines(exported: ExportedSpade) -> list[str]:
    spade = exported.manifest.need_spade()
    lines = [f"{len(spade.experts)} experts; the fused graph differs from torch by at most {exported.difference:.1e}"]
    if spade.atlas is None:
        lines.append("It has no spots: it embeds, and `--atlas` gives it evidence to predict from.")
    else:
        lines.append(
            f"{spade.atlas.patch_count:,} spots of {spade.atlas.patient_count} patients, {len(spade.atlas.markers)} "
            f"genes; searched by {spade.keys}, {spade.neighbours} neighbours"
        )
    for keys, scores in exported.search.items():
        told = ", ".join(f"{count}: {score:.3f}" for count, score in scores.items())
        lines.append(f"Mean correlation with other patients' spots by number of neighbours, {keys}: {told}")
    return lines
