"""`haiku-edge spots embed`."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
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

from .genes import read_genes
from .progress import on_terminal


def run_embed(
    dataset: Path,
    out: Path,
    mixtures: Sequence[str],
    encoder: Path | None,
    features: Path | None,
    genes: str,
    *,
    force: bool,
) -> None:
    """Embed a dataset by several mixtures, and say what was written."""
    check_new_file(out, force=force)
    named, kept = read_mixtures(mixtures), read_genes(genes)
    spots = open_spots(dataset)
    with on_terminal() as progress:
        patients = {section.patient for section in spots.sections}
        taught = count_taught(mixtures, patients)
        for name, count in taught.items():
            progress.say(f"{name} learned from {count} of {len(patients)} patients: figures on them are too good.")
        tower = open_training_encoder(encoder, spots.mpp)
        cohort = represent_spots(spots, tower, named, features, genes=kept, progress=progress)
    write_spot_cohort(out, replace(cohort, taught=taught))
    typer.echo(f"{out}: {len(cohort):,} spots, {len(cohort.genes)} genes, as {', '.join(map(repr, cohort.vectors))}.")
    typer.echo(RESEARCH_USE_ONLY)


def count_taught(mixtures: Sequence[str], patients: Set[str]) -> dict[str, int]:
    """Name → how many of the patients the mixture has seen, of `NAME=FOLDER`, where it has seen some."""
    pairs = [text.partition("=") for text in mixtures]
    counts = {name.strip(): len(read_known(Path(folder)).among(patients)) for name, _, folder in pairs}
    return {name: count for name, count in counts.items() if count}


def read_mixtures(given: Sequence[str]) -> dict[str, SpadeCheckpoint]:
    """Name → checkpoint, of `NAME=FOLDER`.

    Raises:
        UsageError: A name is missing, given twice, that of the image features or of a variant of SPADE, or none is
            called SPADE.
        CheckpointError: A folder is refused.
    """
    pairs = [text.partition("=") for text in given]
    names = [name.strip() for name, _, _ in pairs]
    if any(not name or not folder for name, _, folder in pairs) or len(set(names)) < len(names) or FEATURES in names:
        raise UsageError("Give each --mixture once, as NAME=CHECKPOINT, under a name of its own.")
    if taken := next((name for name in names if name.startswith(f"{SPADE}, ")), None):
        raise UsageError(
            f"{taken!r} would be a variant of {SPADE}, and these are made of {SPADE} itself. Give the --mixture "
            "another name."
        )
    if SPADE not in names:
        raise UsageError(f"Call the mixture that is judged {SPADE}: --mixture {SPADE}=CHECKPOINT.")
    return {name: read_spade(Path(folder)) for name, (_, _, folder) in zip(names, pairs, strict=True)}
