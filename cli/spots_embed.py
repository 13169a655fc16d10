"""`haiku-edge spots embed`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path

import typer

from haiku_edge.export.checkpoint.known import read_known
from haiku_edge.export.checkpoint.spade import SpadeCheckpoint, read_spade
from haiku_edge.export.evaluation.spade import FEATURES, SPADE, write_spot_cohort
from haiku_edge.export.spade.represent import represent_spots
from haiku_edge.export.spade.tower import open_training_encoder
from haiku_edge.export.spatial import open_spots
from haiku_edge.runtime.atomic import check_new_file
from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from .progress import on_terminal


def run_embed(
    dataset: Path, out: Path, mixtures: Sequence[str], encoder: Path | None, features: Path | None, *, force: bool
) -> None:
    """Embed a dataset by several mixtures, and say what was written."""
    check_new_file(out, force=force)
    named = read_mixtures(mixtures)
    spots = open_spots(dataset)
    with on_terminal() as progress:
        for remark in remarks_on_known(mixtures, {section.patient for section in spots.sections}):
            progress.say(remark)
        cohort = represent_spots(spots, open_training_encoder(encoder, spots.mpp), named, features, progress=progress)
    write_spot_cohort(out, cohort)
    typer.echo(f"{out}: {len(cohort):,} spots, {len(cohort.genes)} genes, as {', '.join(cohort.vectors)}.")
    typer.echo(RESEARCH_USE_ONLY)


def remarks_on_known(mixtures: Sequence[str], patients: Set[str]) -> Iterator[str]:
    """How many of the patients each mixture has seen, of `NAME=FOLDER`, where it has seen some."""
    for name, _, folder in (text.partition("=") for text in mixtures):
        if seen := read_known(Path(folder)).among(patients):
            yield f"{name.strip()} learned from {len(seen)} of {len(patients)} patients: figures on them are too good."


def read_mixtures(given: Sequence[str]) -> dict[str, SpadeCheckpoint]:
    """Name → checkpoint, of `NAME=FOLDER`.

    Raises:
        UsageError: A name is missing, given twice, or that of the image features, or none is called SPADE.
        CheckpointError: A folder is refused.
    """
    pairs = [text.partition("=") for text in given]
    names = [name.strip() for name, _, _ in pairs]
    if any(not name or not folder for name, _, folder in pairs) or len(set(names)) < len(names) or FEATURES in names:
        raise UsageError("Give each --mixture once, as NAME=CHECKPOINT, under a name of its own.")
    if SPADE not in names:
        raise UsageError(f"Call the mixture that is judged {SPADE}: --mixture {SPADE}=CHECKPOINT.")
    return {name: read_spade(Path(folder)) for name, (_, _, folder) in zip(names, pairs, strict=True)}
