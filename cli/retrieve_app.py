"""The options of `haiku-edge retrieve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import (
    BundleOption,
    DebugOption,
    DeviceOption,
    ExcludePatientOption,
    ForceOption,
    JsonOption,
    ThreadsOption,
)


def retrieve(
    he: Annotated[
        Path | None, typer.Option("--he", help="H&E tile: PNG, TIFF, JPEG or .npy.", show_default=False)
    ] = None,
    mif: Annotated[
        Path | None, typer.Option("--mif", help="mIF patch, channels first: .npy or (OME-)TIFF.", show_default=False)
    ] = None,
    markers: Annotated[
        str | None,
        typer.Option("--markers", help="Channels of the mIF patch in order: DAPI,CD3,Ki-67,…", show_default=False),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Words to look for.", show_default=False)] = None,
    clinical: Annotated[
        Path | None, typer.Option("--clinical", help="notes.json to look for.", show_default=False)
    ] = None,
    to: Annotated[str, typer.Option("--to", help="What to find: mif, he or text.")] = "mif",
    top: Annotated[int, typer.Option("--top", help="How many to find.")] = 10,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for a page with the pictures.", show_default=False)
    ] = None,
    force: ForceOption = False,
    exclude_patient: ExcludePatientOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the mIF patches, H&E tiles or notes of a bundle that are nearest to a tile, a patch or words."""
    from haiku_edge.runtime.isolation import in_child, reading_slide, run_in_child

    with reported(debug):
        if not in_child():
            raise typer.Exit(run_in_child("haiku_edge.cli", sys.argv[1:], reading_slide("the query")))
        from .retrieve import Asked, run

        run(
            Asked(he=he, mif=mif, text=text, clinical=clinical, markers=markers),
            to,
            bundle=bundle,
            top=top,
            excluded=tuple(exclude_patient or ()),
            out=out,
            force=force,
            device=device,
            threads=threads,
            as_json=json,
        )
