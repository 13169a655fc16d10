"""`haiku-edge export haiku`."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

import typer

from haiku_edge.export.graph import Storage
from haiku_edge.export.haiku import Exported, export_haiku
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import StoppedError, UsageError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from .progress import on_terminal


def run_haiku(
    checkpoint: Path,
    out: Path,
    atlas: Path | None,
    storage: str,
    markers: Sequence[str] = (),
    *,
    force: bool = False,
    as_json: bool,
) -> None:
    """Export a checkpoint, and say what was made."""
    if storage not in get_args(Storage):
        raise UsageError(f"--storage {storage} is none of {', '.join(get_args(Storage))}.")
    with stoppable(), on_terminal() as progress:
        exported = export_haiku(
            checkpoint,
            out,
            atlas=atlas,
            storage=cast(Storage, storage),
            markers=markers,
            progress=progress,
            force=force,
        )
    digest = open_bundle(out).digest
    if as_json:
        typer.echo(json.dumps(_as_json(exported, out, digest), indent=2, ensure_ascii=False))
        return
    for line in _lines(exported, out, digest):
        typer.echo(line)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does, so that gigabytes of unfinished files are cleared away."""

    def stop(number: int, frame: object) -> None:
        raise StoppedError("Stopped before the bundle was whole; nothing of it was left.")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _lines(exported: Exported, out: Path, digest: str) -> list[str]:
    manifest = exported.manifest
    size = sum(entry.size for entry in manifest.files.values())
    lines = [f"{out}: the bundle {manifest.name}, {size / 1e9:.2f} GB, digest {digest}"]
    lines += [f"  {tower} graph: differs from torch by at most {value:.1e}" for tower, value in _sorted(exported)]
    lines += [f"  {stage}: {seconds:.0f} s" for stage, seconds in exported.seconds.items()]
    lines += [f"  Note: {remark}" for remark in exported.remarks]
    if manifest.atlas is None:
        lines.append("  It has no atlas: it embeds, and `haiku-edge atlas add` gives it evidence to predict from.")
    return [*lines, manifest.statement, RESEARCH_USE_ONLY]


def _sorted(exported: Exported) -> list[tuple[str, float]]:
    return sorted(exported.differences.items())


def _as_json(exported: Exported, out: Path, digest: str) -> dict[str, object]:
    return {
        "notice": RESEARCH_USE_ONLY,
        "bundle": str(out),
        "name": exported.manifest.name,
        "digest": digest,
        "statement": exported.manifest.statement,
        "largest_difference_to_torch": exported.differences,
        "seconds": exported.seconds,
        "remarks": list(exported.remarks),
    }
