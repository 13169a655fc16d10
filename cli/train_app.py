"""`haiku-edge train …`: the commands and their options; `heads_app` adds `train head`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import DebugOption, ForceOption

app = typer.Typer(no_args_is_help=True, help="Train the towers, SPADE's experts, or a head on top of them.")
TrainOut = Annotated[Path, typer.Option("--out", help="Folder of the training: towers, state, logs.")]
PresetOption = Annotated[
    str, typer.Option("--preset", help="Sizes of towers that start from nothing: embedded or published.")
]
TrainDevice = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the training in --out, to the same result.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seeds weights, the split of the patients, batches.")]
TrainThreads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads; results depend on them.")]
DatasetArgument = Annotated[
    Path, typer.Argument(readable=False, help="Folder of a dataset: see docs/dataset-format.md.")
]


@app.command("haiku")
def train_haiku(
    dataset: DatasetArgument,
    out: TrainOut,
    start: Annotated[
        Path | None, typer.Option("--from", help="Released checkpoint to go on from.", show_default=False)
    ] = None,
    mif: Annotated[
        Path | None, typer.Option("--mif", help="Folder of `train mif` whose encoder is taken.", show_default=False)
    ] = None,
    preset: PresetOption = "embedded",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training patients.")] = 25,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Patches that are compared with each other.")] = 128,
    at_once: Annotated[
        int | None,
        typer.Option("--at-once", min=1, help="Patches embedded at once; fewer take less memory.", show_default=False),
    ] = None,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Batches with a rising learning rate.")] = 1000,
    region_weight: Annotated[
        float, typer.Option("--region-weight", min=0, help="Weight of other patches of the same region as negatives.")
    ] = 1.0,
    notes_share: Annotated[
        float, typer.Option("--notes-share", min=0, max=1, help="Share of captions that are the notes alone.")
    ] = 0.0,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Train a text tower too.")] = True,
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="Passes without improvement before stopping; 0 never stops.")
    ] = 5,
    device: TrainDevice = "auto",
    seed: SeedOption = 0,
    threads: TrainThreads = 2,
    resume: ResumeOption = False,
    debug: DebugOption = False,
) -> None:
    """Train the towers on paired H&E, mIF and notes; patients held out judge it."""
    with reported(debug):
        from haiku_edge.export.training.haiku_stage import HaikuOptions

        from .train import run_haiku

        options = HaikuOptions(
            start=start,
            mif=mif,
            preset=preset,
            epochs=epochs,
            batch=batch,
            at_once=at_once,
            warm_up=warm_up,
            region_weight=region_weight,
            notes_share=notes_share,
            text=text,
            patience=patience or None,
            device=device,
            seed=seed,
            threads=threads,
        )
        run_haiku(dataset, out, options, resume=resume)


@app.command("mif")
def train_mif(
    dataset: DatasetArgument,
    out: TrainOut,
    preset: PresetOption = "embedded",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training patients.")] = 20,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Patches of one update.")] = 128,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, help="Patches computed at once; fewer take less memory.")
    ] = 32,
    device: TrainDevice = "auto",
    seed: SeedOption = 0,
    threads: TrainThreads = 2,
    resume: ResumeOption = False,
    debug: DebugOption = False,
) -> None:
    """Train the mIF encoder as a masked autoencoder, before `train haiku --mif`."""
    with reported(debug):
        from haiku_edge.export.training.mif_stage import MifOptions

        from .train import run_mif

        options = MifOptions(preset, epochs, batch, at_once, device=device, seed=seed, threads=threads)
        run_mif(dataset, out, options, resume=resume)


@app.command("spade")
def train_spade(
    dataset: Annotated[Path, typer.Argument(readable=False, help="Folder of a dataset of spots: see `spots build`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the training: clusters, experts, checkpoint.")],
    encoder: Annotated[
        Path | None,
        typer.Option(
            "--encoder",
            help="Makes the image features: a timm checkpoint, or a bundle's H&E tower; the embedded one by default.",
            show_default=False,
        ),
    ] = None,
    experts: Annotated[
        str, typer.Option("--experts", help="Number of experts; elbow takes the bend of the curve, 1 is a baseline.")
    ] = "16",
    per_organ: Annotated[int, typer.Option("--per-organ", min=1, help="Centroids of an organ.")] = 16,
    least_spots: Annotated[
        int, typer.Option("--least-spots", min=2, help="Experts with fewer spots are merged into the nearest.")
    ] = 500,
    random_clusters: Annotated[
        bool, typer.Option("--random-clusters", help="Give centroids to experts by chance: a baseline.")
    ] = False,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes of each expert over its spots.")] = 100,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Spots that are compared with each other.")] = 128,
    counts: Annotated[
        str, typer.Option("--counts", help="What gene heads read: raw counts, or log (of counts a 10,000).")
    ] = "raw",
    exclude_patient: Annotated[
        list[str] | None,
        typer.Option("--exclude-patient", help="Patient who is not learned from; repeatable.", show_default=False),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", help="Keeps image features; trainings may share it.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Experts trained at once; by default one a core.", show_default=False),
    ] = None,
    device: TrainDevice = "auto",
    seed: SeedOption = 0,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Processor threads of one expert; results depend on them.")
    ] = 1,
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
