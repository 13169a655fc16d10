"""`haiku-edge export …`: the commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import DebugOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="Make a bundle from a licensed checkpoint.")


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
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Export the released Haiku checkpoint as a bundle."""
    with reported(debug):
        from .export import run_haiku

        run_haiku(checkpoint, out, atlas, storage, tuple(marker or ()), as_json=json)
