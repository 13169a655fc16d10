"""`haiku-edge bundle …`: the commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import DebugOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="Check a bundle, or say what is in it.")


@app.command()
def verify(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle directory; the embedded one by default.")] = None,
    debug: DebugOption = False,
) -> None:
    """Check every file of a bundle against its digest."""
    with reported(debug):
        from .bundle import run_verify

        run_verify(bundle)


@app.command()
def info(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle directory; the embedded one by default.")] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what is in a bundle, and how it was measured."""
    with reported(debug):
        from .bundle import run_info

        run_info(bundle, as_json=json)
