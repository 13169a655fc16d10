"""`haiku-edge train haiku|mif` and their options; `train_spade_app` and `heads_app` have the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import DebugOption

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
