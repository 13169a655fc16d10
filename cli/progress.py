"""Progress on the terminal: a bar with rate and time left, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


@contextmanager
def on_terminal() -> Iterator[TerminalProgress]:
    """Progress on standard error, whose bar has ended when the block ends, however it ends."""
    progress = TerminalProgress(Console(stderr=True))
    try:
        yield progress
    finally:
        progress.finish()


class _Rate(ProgressColumn):
    """Steps per second since the stage began."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing before the first step."""
        elapsed = task.finished_time or task.elapsed
        speed = task.completed / elapsed if elapsed else 0
        text = "" if not speed else f"{speed:,.0f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
        return Text(text, style="progress.data.speed")


class TerminalProgress:
    """Draws the pipeline's progress, and prints its lines.

    Args:
        console: Where to draw; standard error, so that standard output stays the result's.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a bar, or a spinner where the number of steps is unknown."""
        self.finish()
        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
        if total is not None:
            columns += [BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
        self._bar = Progress(*columns, console=self._console)
        self._bar.add_task(stage, total=total)
        self._bar.start()

    def advance(self, steps: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], steps)

    def finish(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
