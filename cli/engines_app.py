"""`haiku-edge engines …`: the commands and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import BundleOption, DebugOption, JsonOption, ThreadsOption

app = typer.Typer(
    no_args_is_help=True,
    help="Build, judge and keep the engines of this machine. `predict` builds none: it takes the fastest that passed.",
)

TowerOption = Annotated[
    list[str] | None, typer.Option("--tower", help="Only this: he, text, mif, spade or a student. Repeat for more.")
]
EngineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        help="Only this: tensorrt, tensorrt_rtx, onnxruntime-cuda, openvino or onnxruntime-cpu. Repeat for more.",
    ),
]
PrecisionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        help="Only this: fp32, fp16, bf16, int8 or fp8. Repeat for more. Those whose ranges are measured on golden "
        "cases (static int8, fp8) are built only where they are named.",
    ),
]
StrippedOption = Annotated[
    bool,
    typer.Option(
        "--stripped",
        help="Leave the weights out of TensorRT's plans, and take them from the bundle at each start: less disk, a "
        "slower start. A plan that can't be built so is built whole.",
    ),
]


@app.command("list")
def list_engines(json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the engines that are kept, with what their gate found, and whether they fit this machine."""
    with reported(debug):
        from .engines import run_list

        run_list(as_json=json)


@app.command()
def build(
    bundle: BundleOption = None,
    tower: TowerOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    stripped: StrippedOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Build, judge and time every engine that this machine can run for a bundle, and keep what passes."""
    _build(bundle, (tower, engine, precision), threads, stripped=stripped, rebuild=False, as_json=json, debug=debug)


@app.command()
def rebuild(
    bundle: BundleOption = None,
    tower: TowerOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    stripped: StrippedOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Build them again: after a new GPU, driver or release, or when one was altered."""
    _build(bundle, (tower, engine, precision), threads, stripped=stripped, rebuild=True, as_json=json, debug=debug)


@app.command()
def verify(
    bundle: BundleOption = None, threads: ThreadsOption = None, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Compare the kept engines with their digests, and judge them again."""
    with reported(debug):
        from .engines import run_verify

        run_verify(bundle, threads, as_json=json)


@app.command()
def prune(
    limit: Annotated[float, typer.Option("--limit", min=0, help="GiB that may stay; the oldest go first.")] = 24,
    stale: Annotated[bool, typer.Option("--stale", help="Also take out what does not fit this machine.")] = False,
    debug: DebugOption = False,
) -> None:
    """Take out engines: damaged ones, and the oldest beyond a limit."""
    with reported(debug):
        from .engines import run_prune

        run_prune(limit, stale=stale)


def _build(
    bundle: Path | None,
    only: tuple[list[str] | None, list[str] | None, list[str] | None],
    threads: int | None,
    *,
    stripped: bool,
    rebuild: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Build in a child: a builder that can't take a tower may end its process."""
    from haiku_edge.runtime.isolation import building_engines, in_child, run_in_child

    with reported(debug):
        if not in_child():
            raise typer.Exit(run_in_child("haiku_edge.cli", sys.argv[1:], building_engines()))
        from .engines import Which, run_build

        towers, engines, precisions = (tuple(names or ()) for names in only)
        which = Which(towers, engines, precisions, stripped)
        run_build(bundle, which, threads, rebuild=rebuild, as_json=as_json)
