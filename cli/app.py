"""The commands and their options. Each imports its work when it is called, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.offline import refuse_sockets

from .atlas_app import app as atlas_app
from .atlas_app import embed
from .bundle_app import app as bundle_app
from .counterfactual_app import counterfactual, evaluate_counterfactual
from .engines_app import app as engines_app
from .errors import reported
from .evaluate_app import app as evaluate_app
from .export_app import app as export_app
from .heads_app import add_to as add_heads_to
from .options import (
    BundleOption,
    ClinicalOption,
    DebugOption,
    DeviceOption,
    ExcludePatientOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    MppOption,
    NameOption,
    NeighboursOption,
    StrictOption,
    TextWeightOption,
    ThreadsOption,
    TowerOption,
)
from .retrieve_app import retrieve
from .spade_evaluation_app import app as spade_evaluation_app
from .spots_app import app as spots_app
from .train_app import app as train_app
from .train_spade_app import train_spade

app = typer.Typer(
    name="haiku-edge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=f"Biomarker evidence for H&E whole slides, offline.\n\n{RESEARCH_USE_ONLY}",
    epilog=RESEARCH_USE_ONLY,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from haiku_edge.runtime.version import product

        typer.echo(product())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version, and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def predict(
    slide: Annotated[
        Path, typer.Argument(readable=False, help="A slide: SVS or other file, DICOM file, folder or zip.")
    ],
    clinical: ClinicalOption = None,
    bundle: BundleOption = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; one folder a slide is made in it.")
    ] = Path("results"),
    name: NameOption = None,
    device: DeviceOption = "auto",
    mpp: MppOption = None,
    text_weight: TextWeightOption = None,
    neighbours: NeighboursOption = None,
    exclude_patient: ExcludePatientOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    threads: ThreadsOption = None,
    strict: StrictOption = False,
    tower: TowerOption = "auto",
    family: FamilyOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Predict a slide's biomarkers, with the measured mIF patches (or spots) behind them."""
    from haiku_edge.runtime.isolation import in_child, reading_slide, run_in_child

    with reported(debug):
        if not in_child():
            raise typer.Exit(run_in_child("haiku_edge.cli", sys.argv[1:], reading_slide(slide.name)))
        from haiku_edge.runtime.inference import PredictOptions

        from .predict import run

        options = PredictOptions(
            bundle=bundle,
            out=out,
            name=name,
            device=device,
            mpp=mpp,
            text_weight=text_weight,
            neighbours=neighbours,
            exclude_patients=tuple(exclude_patient or ()),
            force=force,
            threads=threads,
            strict=strict,
            tower=tower,
            family=family,
        )
        run(slide, clinical, options, as_json=json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the slide, its notes and the results.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed simulates another slide.")] = 1,
    only_slide: Annotated[
        bool, typer.Option("--only-slide", help="Write slide and notes, and predict nothing.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Simulate a slide, predict on it, and compare with what was painted."""
    with reported(debug):
        from .demo import run

        run(out, seed, only_slide=only_slide)


@app.command()
def doctor(
    bundle: BundleOption = None, device: DeviceOption = "auto", json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Say what is installed, which device would run and why, and test the bundle on its golden cases."""
    with reported(debug):
        from .doctor import run

        if not run(bundle, device, as_json=json):
            raise typer.Exit(1)


app.command()(counterfactual)
app.command()(retrieve)
app.command()(embed)
evaluate_app.command("counterfactual")(evaluate_counterfactual)
train_app.command("spade")(train_spade)
add_heads_to(evaluate_app, train_app)
evaluate_app.add_typer(spade_evaluation_app, name="spade")
for name, commands in (
    ("export", export_app),
    ("atlas", atlas_app),
    ("spots", spots_app),
    ("train", train_app),
    ("evaluate", evaluate_app),
    ("bundle", bundle_app),
    ("engines", engines_app),
):
    app.add_typer(commands, name=name)


def main() -> None:
    """Run the command line."""
    refuse_sockets()
    try:
        app()
    except SystemExit as end:
        _leave_child(end)
        raise


def _leave_child(end: SystemExit) -> None:
    """End a child at once: native libraries may abort a process that is torn down, after its work is done."""
    from haiku_edge.runtime.isolation import in_child

    if in_child():
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
