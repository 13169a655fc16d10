"""`haiku-edge spots …`: the commands and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import DebugOption, ForceOption, JsonOption, ThreadsOption

app = typer.Typer(no_args_is_help=True, help="Make or describe a dataset of spots: spatial transcriptomics with H&E.")


@app.command()
def build(
    table: Annotated[
        Path, typer.Argument(readable=False, help="CSV or TSV with the columns section, patient, organ and data.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The dataset to write, a folder.")],
    genes_per_section: Annotated[
        int, typer.Option("--genes-per-section", min=1, help="Most variable genes that each section adds.")
    ] = 50,
    least_common_genes: Annotated[
        int, typer.Option("--least-common-genes", min=1, help="A section that would leave fewer in common is left out.")
    ] = 10_000,
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            help="Dataset whose genes to take instead, as one that experts learned from: they can then read both.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[int, typer.Option("--size", min=16, max=4096, help="Side of a patch, pixels.")] = 224,
    mpp: Annotated[float, typer.Option("--mpp", min=0.05, max=100, help="µm per pixel of a patch.")] = 0.5,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Read sections, choose their variable genes, and cut the H&E around every spot."""
    from haiku_edge.runtime.isolation import in_child, reading_spots, run_in_child

    with reported(debug):
        if not in_child():
            raise typer.Exit(run_in_child("haiku_edge.cli", sys.argv[1:], reading_spots(table.name)))
        from haiku_edge.export.spatial import open_spots
        from haiku_edge.export.spatial.build import SpotSettings

        from .spots import run_build

        genes = None if like is None else open_spots(like).genes
        run_build(table, out, SpotSettings(genes_per_section, least_common_genes, size, mpp, threads, force, genes))


@app.command()
def embed(
    dataset: Annotated[Path, typer.Argument(readable=False, help="Folder of a dataset of spots.")],
    out: Annotated[Path, typer.Option("--out", help="The cohort to write, a Parquet file.")],
    mixture: Annotated[
        list[str],
        typer.Option("--mixture", help="A checkpoint under a name; repeatable.", metavar="NAME=CHECKPOINT"),
    ],
    encoder: Annotated[
        Path | None,
        typer.Option(
            "--encoder", help="What they learned with; the embedded bundle's H&E tower by default.", show_default=False
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="Folder that keeps image features.", show_default=False)
    ] = None,
    genes: Annotated[
        str, typer.Option("--genes", help="How many genes to keep, the most variable; or a file with their names.")
    ] = "200",
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Embed spots by several mixtures, for `haiku-edge evaluate spade`; the one called SPADE is judged."""
    with reported(debug):
        from .spots_embed import run_embed

        run_embed(dataset, out, mixture, encoder, features, genes, force=force)


@app.command()
def info(
    dataset: Annotated[Path, typer.Argument(readable=False, help="Folder of a dataset of spots.")],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what a dataset of spots holds, and how its genes were chosen."""
    with reported(debug):
        from .spots import run_info

        run_info(dataset, as_json=json)
