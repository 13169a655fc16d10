"""`haiku-edge export haiku`."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast, get_args

from haiku_edge.export.graph import Storage
from haiku_edge.export.haiku import Exported, export_haiku
from haiku_edge.runtime.errors import StoppedError, UsageError

from .exported import tell_exported
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
    figures = {"largest_difference_to_torch": exported.differences}
    tell_exported(exported, out, _lines(exported), figures, as_json=as_json)


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


def _lines(exported: Exported) -> list[str]:
    lines = [
        f"{tower} graph: differs from torch by at most {value:.1e}"
        for tower, value in sorted(exported.differences.items())
    ]
    if exported.manifest.atlas is None:
        lines.append("It has no atlas: it embeds, and `haiku-edge atlas add` gives it evidence to predict from.")
    return lines
