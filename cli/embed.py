"""`haiku-edge embed`."""

from __future__ import annotations

from pathlib import Path

import typer

from haiku_edge.export.dataset import open_dataset
from haiku_edge.export.embedding import embed_dataset
from haiku_edge.export.evaluation.embedded_cohort import write_cohort
from haiku_edge.runtime.atomic import check_new_file
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from .progress import on_terminal


def run(
    dataset: Path,
    bundle: Path | None,
    out: Path,
    *,
    mpp: float | None,
    device: str,
    threads: int | None,
    drop_unknown: bool,
    any_mpp: bool,
    outcomes: bool,
    hide: tuple[str, ...],
    force: bool,
) -> None:
    """Embed a dataset with a bundle's towers, and write the cohort."""
    check_new_file(out, force=force)
    opened = open_bundle(bundle)
    with on_terminal() as progress:
        cohort = embed_dataset(
            opened,
            open_dataset(dataset, mpp=mpp),
            progress,
            device=device,
            threads=threads,
            drop_unknown=drop_unknown,
            any_mpp=any_mpp,
            outcomes=outcomes,
            hide=hide,
        )
    write_cohort(out, cohort)
    patients = len(set(cohort.patients.tolist()))
    typer.echo(
        f"{out}: {len(cohort)} patches of {patients} patients, vectors {', '.join(cohort.vectors)}, "
        f"{len(cohort.markers)} markers, by {opened.manifest.name} ({opened.digest[:12]}). {RESEARCH_USE_ONLY}"
    )
