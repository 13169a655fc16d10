"""`haiku-edge export distill`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import typer

from haiku_edge.export.dataset import open_dataset
from haiku_edge.export.distill import Distilled, Group, Options, dataset_groups, distill, slide_groups
from haiku_edge.export.distill.attach import check_place
from haiku_edge.export.model import KINDS, Kind
from haiku_edge.export.model.student import PRESETS
from haiku_edge.export.training.loop import Progress
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.errors import StoppedError, UsageError
from haiku_edge.runtime.inference.he_tower import in_words
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

EVERY = 1 << 31
"""More tiles than any slide has: calibration takes all."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Where tiles come from.

    Attributes:
        slides: Folder of slides, or None.
        dataset: Folder of patches, or None.
        calibration: Folder of the calibration patients' patches, or None.
        most: Tiles of a slide or region.
    """

    slides: Path | None
    dataset: Path | None
    calibration: Path | None
    most: int


def read_options(
    kind: str, preset: str, steps: int, batch: int, views: int, seed: int, device: str, threads: int
) -> Options:
    """The options, once they are known to mean something.

    Raises:
        UsageError: They do not.
    """
    if kind not in get_args(Kind):
        raise UsageError(f"--kind {kind} is none of {', '.join(KINDS)}.")
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset} is none of {', '.join(PRESETS)}.")
    if min(steps, views, threads) < 1 or batch < 2:
        raise UsageError("A student takes at least one step, view and thread, and two tiles a batch.")
    return Options(
        cast(Kind, kind), preset, steps=steps, batch=batch, views=views, seed=seed, device=device, threads=threads
    )


def run_distill(
    source: Path, tiles: Tiles, out: Path, work: Path | None, options: Options, *, resume: bool, force: bool
) -> None:
    """Train a student, write the bundle that has it, and say what it is worth."""
    bundle, place = open_bundle(source), work or out.with_name(f"{out.name}.distill")
    check_place(bundle, out, force=force)
    with _stoppable(place):
        done = distill(
            bundle,
            _groups(bundle, tiles),
            out,
            place,
            options,
            calibration=_calibration(bundle, tiles.calibration),
            report=_report,
            say=_say,
            resume=resume,
            force=force,
        )
    for line in _lines(done, out, place):
        typer.echo(line)


def _groups(bundle: Bundle, tiles: Tiles) -> tuple[Group, ...]:
    manifest = bundle.manifest
    if (tiles.slides is None) == (tiles.dataset is None):
        raise UsageError("Say where the tiles come from: --slides DIR, or --dataset DIR.")
    if tiles.slides is not None:
        return slide_groups(tiles.slides, manifest.need_he(), tiles.most, _say)
    assert tiles.dataset is not None
    markers = () if manifest.atlas is None else manifest.atlas.markers
    return dataset_groups(open_dataset(tiles.dataset), manifest.need_he(), tiles.most, markers)


def _calibration(bundle: Bundle, folder: Path | None) -> tuple[Group, ...]:
    if folder is None:
        return ()
    bundle.manifest.need_calibration()
    return dataset_groups(open_dataset(folder), bundle.manifest.need_he(), EVERY, roles=False)


@contextlib.contextmanager
def _stoppable(place: Path) -> Iterator[None]:
    """Say what Ctrl-C leaves behind."""
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(
            f"Stopped. {place} keeps the vectors and the training's last state: give the same command with --resume, "
            "or without it where the training had not begun."
        ) from None


def _report(progress: Progress) -> None:
    _say(f"step {progress.step:,} of {progress.steps:,}: loss {progress.loss:.4f}")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _lines(done: Distilled, out: Path, place: Path) -> Iterator[str]:
    student = done.student
    yield f"{out}: the bundle {done.manifest.name} with {student.name} ({student.parameters:,} parameters)"
    yield f"  On patients held out: {in_words(student.agreement)}"
    truth = student.agreement.truth_pearson_teacher, student.agreement.truth_pearson_student
    if None not in truth:
        yield f"  Correlation with what was measured: {truth[0]:.2f} by the teacher, {truth[1]:.2f} by the student"
    if student.calibration is None:
        yield "  Its estimates have no intervals, and no tile abstains: it has no calibration cases of its own."
    yield f"  {place} keeps the teacher's vectors, for another student; remove it when you need the room."
    yield RESEARCH_USE_ONLY
