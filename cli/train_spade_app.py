"""`haiku-edge train spade`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import DebugOption, ForceOption
from .train_app import ResumeOption, SeedOption, TrainDevice

DatasetArgument = Annotated[
    Path, typer.Argument(readable=False, help="Folder of a dataset of spots: see `spots build`.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the training: clusters, experts, checkpoint.")]
EncoderOption = Annotated[
    Path | None,
    typer.Option(
        "--encoder",
        help="Makes the image features: a timm checkpoint, or a bundle's H&E tower; the embedded one by default.",
        show_default=False,
    ),
]
ExpertsOption = Annotated[
    str, typer.Option("--experts", help="Number of experts; elbow takes the bend of the curve, 1 is a baseline.")
]
PerOrganOption = Annotated[int, typer.Option("--per-organ", min=1, help="Centroids of an organ.")]
LeastSpotsOption = Annotated[
    int, typer.Option("--least-spots", min=2, help="Experts with fewer spots are merged into the nearest.")
]
RandomOption = Annotated[
    bool, typer.Option("--random-clusters", help="Give centroids to experts by chance: a baseline.")
]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, help="Passes of each expert over its spots.")]
BatchOption = Annotated[int, typer.Option("--batch", min=2, help="Spots that are compared with each other.")]
CountsOption = Annotated[
    str, typer.Option("--counts", help="What gene heads read: raw counts, or log (of counts a 10,000).")
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-patient", help="Patient who is not learned from; repeatable.", show_default=False),
]
FeaturesOption = Annotated[
    Path | None, typer.Option("--features", help="Keeps image features; trainings may share it.", show_default=False)
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Experts trained at once; by default one a core.", show_default=False),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=1, help="Processor threads of one expert; results depend on them.")
]


def train_spade(
    dataset: DatasetArgument,
    out: OutOption,
    encoder: EncoderOption = None,
    experts: ExpertsOption = "16",
    per_organ: PerOrganOption = 16,
    least_spots: LeastSpotsOption = 500,
    random_clusters: RandomOption = False,
    epochs: EpochsOption = 100,
    batch: BatchOption = 128,
    counts: CountsOption = "raw",
    exclude_patient: ExcludeOption = None,
    features: FeaturesOption = None,
    workers: WorkersOption = None,
    device: TrainDevice = "auto",
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    resume: ResumeOption = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Cluster spots by their image features, and train SPADE's expert on each cluster."""
    with reported(debug):
        from haiku_edge.export.spade.stage import SpadeOptions

        from .train_spade import number_of_experts, run_spade

        options = SpadeOptions(
            experts=number_of_experts(experts),
            per_organ=per_organ,
            least_spots=least_spots,
            shuffled=random_clusters,
            epochs=epochs,
            batch=batch,
            counts=counts,
            exclude=tuple(sorted(exclude_patient or ())),
            seed=seed,
            threads=threads,
            workers=workers,
            device=device,
            features=features,
        )
        run_spade(dataset, encoder, out, options, resume=resume, force=force)
