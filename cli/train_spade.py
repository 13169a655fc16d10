"""`haiku-edge train spade`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import typer

from haiku_edge.export.spade.stage import SpadeOptions, TrainedSpade, count_experts, train_spade
from haiku_edge.export.spade.tower import open_training_encoder
from haiku_edge.export.spatial import open_spots
from haiku_edge.export.spatial.features import Encoder
from haiku_edge.export.training.run_folder import RUN_FILE
from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from .progress import on_terminal


def number_of_experts(text: str) -> int | Literal["elbow"]:
    """What `--experts` asks for.

    Raises:
        UsageError: It is neither a number nor elbow.
    """
    if text == "elbow":
        return "elbow"
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--experts {text} is no number of experts. Give a number from 1, or elbow.")
    return int(text)


def run_spade(
    dataset: Path, encoder: Path | None, out: Path, options: SpadeOptions, *, resume: bool, force: bool
) -> None:
    """Train the experts, and say how it went."""
    with on_terminal() as progress:
        try:
            done = train_spade(
                dataset, _encoder(encoder, dataset, options), out, options, progress, resume=resume, force=force
            )
        except KeyboardInterrupt:
            progress.finish()
            if (out / RUN_FILE).exists():
                progress.say(f"Stopped. {out} keeps what is finished; go on with the same command and --resume.")
            raise
    for line in (*_lines(done, options), RESEARCH_USE_ONLY):
        typer.echo(line)


def _encoder(path: Path | None, dataset: Path, options: SpadeOptions) -> Encoder:
    """The H&E tower of a bundle, on the fastest engine that may compute what is kept; or a timm checkpoint."""
    device = "cpu" if options.device == "cpu" else "auto"
    return open_training_encoder(path, open_spots(dataset).mpp, device=device)


def _lines(done: TrainedSpade, options: SpadeOptions) -> Iterator[str]:
    left, (trained, held_out) = len(done.experts), done.patients
    spots = sum(own.spots for own in done.experts)
    people = f"{trained} patient{'' if trained == 1 else 's'} ({held_out} more held out)"
    yield f"Trained {count_experts(left)} on {spots:,} spots of {people}."
    yield f"Inference takes {done.routed_alike:.1%} of the spots to the expert that they belong to."
    yield f"Checkpoint: {done.checkpoint}"
    if left < done.asked:
        yield _merged(done, options)
    if left == 1 < done.asked:
        yield "One expert on all spots is the baseline that a mixture is compared with, not the mixture asked for."
    else:
        yield f"`haiku-edge export spade {done.checkpoint} --out BUNDLE` makes a bundle of it."


def _merged(done: TrainedSpade, options: SpadeOptions) -> str:
    """Why fewer experts are left than were asked for, and what to do."""
    left, asked = len(done.experts), "chosen by the elbow" if options.experts == "elbow" else "asked for"
    return (
        f"{done.asked} experts were {asked} and {left} {'is' if left == 1 else 'are'} left, since the others had fewer "
        f"than {options.least_spots:,} spots: lower --least-spots, or take more spots."
    )
