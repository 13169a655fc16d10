"""The answer of a command that measures: told as text or as JSON, and written down where that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from haiku_edge.runtime.notice import RESEARCH_USE_ONLY, without_notice

from .errors import reported
from .options import new_file

if TYPE_CHECKING:
    from haiku_edge.runtime.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Answer:
    """What a task found.

    Attributes:
        text: Markdown.
        figures: JSON values.
        bundle: The bundle that the figures are of, named in text and JSON; None where a cohort alone was asked.
    """

    text: str
    figures: Mapping[str, object]
    bundle: Bundle | None = None

    def as_text(self) -> str:
        """The Markdown, below what the bundle states, above the research-use-only line."""
        lines = [self.text.rstrip("\n"), RESEARCH_USE_ONLY]
        if self.bundle is not None:
            manifest = self.bundle.manifest
            lines.insert(0, f"{manifest.name} {manifest.version}: {without_notice(manifest.statement)}")
        return "\n\n".join(lines)

    def as_json(self) -> str:
        """The figures as a JSON document."""
        document: dict[str, object] = {"notice": RESEARCH_USE_ONLY}
        if self.bundle is not None:
            manifest = self.bundle.manifest
            document["bundle"] = {"name": manifest.name, "version": manifest.version, "digest": self.bundle.digest}
        return json.dumps({**document, **self.figures}, indent=2)


@contextmanager
def answering(
    *, out: Path | None = None, force: bool = False, as_json: bool, debug: bool
) -> Iterator[Callable[[Answer], None]]:
    """Run a command that ends with an answer, and report its errors.

    Args:
        out: File for the JSON, whole or not at all; that it may be written is seen before the work.
        force: Whether an older file may be replaced.
        as_json: Print the JSON, and nothing else.
        debug: Show the traceback of an error.

    Yields:
        What tells the answer.
    """
    with reported(debug):
        place = new_file(out, force=force)
        yield lambda answer: _tell(answer, as_json, place)


def _tell(answer: Answer, as_json: bool, out: Path | None) -> None:
    if out is not None:
        from haiku_edge.runtime.atomic import atomic_write

        atomic_write(out, f"{answer.as_json()}\n".encode())
    typer.echo(answer.as_json() if as_json else answer.as_text())
