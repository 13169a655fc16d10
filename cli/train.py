"""`haiku-edge train haiku` and `haiku-edge train mif`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import typer

from haiku_edge.export.training.haiku_stage import HaikuOptions, Trained, train_haiku
from haiku_edge.export.training.loop import STATE_FILE, Progress
from haiku_edge.export.training.mif_stage import MifOptions, TrainedEncoder, train_mif
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY


def run_haiku(dataset: Path, out: Path, options: HaikuOptions, *, resume: bool) -> None:
    """Train the towers, and say how it went."""
    with _stoppable(out):
        done = train_haiku(dataset, out, options, _report, _say, resume=resume)
    _tell([*_haiku_lines(done), RESEARCH_USE_ONLY])


def run_mif(dataset: Path, out: Path, options: MifOptions, *, resume: bool) -> None:
    """Train the mIF encoder, and say how it went."""
    with _stoppable(out):
        done = train_mif(dataset, out, options, _report, _say, resume=resume)
    _tell([*_mif_lines(done), RESEARCH_USE_ONLY])


@contextlib.contextmanager
def _stoppable(out: Path) -> Iterator[None]:
    """Say what Ctrl-C leaves behind."""
    try:
        yield
    except KeyboardInterrupt:
        if (out / STATE_FILE).exists():
            _say(f"Stopped. {out} keeps the last finished pass; go on with the same command and --resume.")
        raise


def _report(progress: Progress) -> None:
    judged = "" if progress.held_out is None else f", held-out {progress.held_out:.4f}"
    _say(f"step {progress.step:,} of {progress.steps:,}: loss {progress.loss:.4f}{judged}")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _tell(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


def _haiku_lines(done: Trained) -> Iterator[str]:
    trained, held_out = done.patients
    ended = " and stopped early" if done.outcome.stopped_early else ""
    best = "" if done.outcome.best is None else f", loss {done.outcome.best:.4f} on {held_out} held-out patients"
    yield f"Trained on {trained} patients for {done.outcome.steps:,} batches{ended}."
    yield f"Best towers: {done.towers} (batch {done.outcome.best_step:,}{best})"
    if done.released is not None:
        yield f"Released layout: {done.released}"
    yield f"`haiku-edge export haiku {done.towers.parent} --out BUNDLE` makes a bundle of it."


def _mif_lines(done: TrainedEncoder) -> Iterator[str]:
    yield f"Trained the mIF encoder for {done.steps:,} updates: error {done.first:.4f} before, {done.best:.4f} at best."
    yield f"`haiku-edge train haiku DATASET --out RUN --mif {done.folder}` takes it."
