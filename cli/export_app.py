"""`haiku-edge export …`: the commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .export_spade_app import spade
from .options import DebugOption, ForceOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="Make a bundle from a licensed checkpoint.")
app.command()(spade)


@app.command()
def haiku(
    checkpoint: Annotated[
        Path, typer.Argument(readable=False, help="Folder with haiku_state_dict.pt, config.json and tokenizer/.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder.")],
    atlas: Annotated[
        Path | None, typer.Option("--atlas", help="Folder of patches that become the evidence.", show_default=False)
    ] = None,
    storage: Annotated[
        str, typer.Option("--storage", help="fp32 or fp16: how matrices are stored; the arithmetic is fp32.")
    ] = "fp32",
    marker: Annotated[
        list[str] | None,
        typer.Option(
            "--marker",
            help="A new marker by its vector; repeatable.",
            show_default=False,
            metavar="NAME=FILE.npy",
        ),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Export the released Haiku checkpoint as a bundle."""
    with reported(debug):
        from .export import run_haiku

        run_haiku(checkpoint, out, atlas, storage, tuple(marker or ()), force=force, as_json=json)


@app.command()
def distill(
    bundle: Annotated[Path, typer.Argument(readable=False, help="Bundle whose H&E tower teaches.")],
    out: Annotated[Path, typer.Option("--out", help="The new bundle's folder.")],
    slides: Annotated[
        Path | None,
        typer.Option("--slides", help="Folder of slides; a sub-folder holds one patient's.", show_default=False),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="Folder of patches, in place of slides.", show_default=False)
    ] = None,
    kind: Annotated[str, typer.Option("--kind", help="mobile or vit-s.")] = "mobile",
    preset: Annotated[str, typer.Option("--preset", help="Size: published, or embedded (smaller).")] = "published",
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Folder of the calibration patients' patches; without it the student has no intervals.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Batches.")] = 4000,
    batch: Annotated[int, typer.Option("--batch", help="Tiles of a batch.")] = 64,
    views: Annotated[int, typer.Option("--views", help="Views of each tile that the teacher is asked about.")] = 4,
    tiles: Annotated[int, typer.Option("--tiles", min=1, help="Tiles of a slide or region at most.")] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seeds split, weights, views and batches.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda: where the student is trained.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", help="Threads to use.")] = 2,
    work: Annotated[
        Path | None,
        typer.Option("--work", help="Folder for vectors and state; OUT.distill by default.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that --work holds.")] = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a small H&E tower to give the vectors of a bundle's own, for machines without a GPU."""
    with reported(debug):
        from .distill import Tiles, read_options, run_distill

        options = read_options(kind, preset, steps, batch, views, seed, device, threads)
        run_distill(bundle, Tiles(slides, dataset, calibration, tiles), out, work, options, resume=resume, force=force)
