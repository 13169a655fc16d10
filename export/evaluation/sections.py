"""Parts of an evaluation that other tasks bring: a title, lines of Markdown, and figures for the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .held_out import HeldOut


@dataclass(frozen=True, slots=True)
class Section:
    """One task's figures.

    Attributes:
        name: Key among the manifest's metrics.
        title: Heading.
        lines: Markdown.
        metrics: The figures as JSON values.
    """

    name: str
    title: str
    lines: tuple[str, ...]
    metrics: Mapping[str, object] = field(default_factory=dict)


Task = Callable[[HeldOut], Section | None]
"""Scores a bundle on its held-out patients; None where the bundle has nothing to score."""
