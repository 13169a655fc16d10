"""What the terminal says while something is under way."""

from __future__ import annotations

import io

from rich.console import Console

from haiku_edge.cli.progress import TerminalProgress


def test_the_rate_counts_every_step_from_the_beginning_of_the_stage() -> None:
    clock, text = [100.0], io.StringIO()
    progress = TerminalProgress(Console(file=text, force_terminal=True, width=120, get_time=lambda: clock[0]))
    progress.start("Pictures", 320)
    clock[0] += 32.0
    progress.advance(320)
    progress.finish()
    assert "10/s" in text.getvalue()
