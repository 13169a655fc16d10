"""The commands and their options. Each imports its work when it is called, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from haiku_edge.runtime.offline import refuse_sockets

from .errors import reported

NOTICE = "For research use only. Not for use in diagnostic procedures."

app = typer.Typer(
    name="haiku-edge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=f"Biomarker evidence for H&E whole slides, offline.\n\n{NOTICE}",
    epilog=NOTICE,
)
bundle_app = typer.Typer(no_args_is_help=True, help="Check a bundle, or say what is in it.")
app.add_typer(bundle_app, name="bundle")

BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle directory; the embedded one by default.", show_default=False)
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto or cpu; tensorrt and cuda are not in this release.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Threads to use; all cores by default.", show_default=False)
]


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
    clinical: Annotated[
        Path | None, typer.Option("--clinical", help="notes.json with the clinical facts.", show_default=False)
    ] = None,
    bundle: BundleOption = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; one folder a slide is made in it.")
    ] = Path("results"),
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name that outputs bear, not the file's own.", show_default=False),
    ] = None,
    device: DeviceOption = "auto",
    mpp: Annotated[
        float | None, typer.Option("--mpp", help="Micrometres per pixel, if the slide doesn't say.", show_default=False)
    ] = None,
    text_weight: Annotated[
        float | None, typer.Option("--text-weight", help="Weight of the notes, 0 to 1; the bundle's by default (0.2).")
    ] = None,
    neighbours: Annotated[
        int | None, typer.Option("--neighbours", help="mIF patches behind each tile; the bundle's by default (5).")
    ] = None,
    exclude_patient: Annotated[
        list[str] | None, typer.Option("--exclude-patient", help="Atlas patient who may not be evidence; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a finished result.")] = False,
    json: JsonOption = False,
    threads: ThreadsOption = None,
    debug: DebugOption = False,
) -> None:
    """Predict a slide's biomarkers, with the measured mIF patches behind them."""
    from haiku_edge.runtime.isolation import in_child, run_in_child

    with reported(debug):
        if not in_child():
            raise typer.Exit(run_in_child("haiku_edge.cli", sys.argv[1:], slide.name))
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


@app.command()
def evaluate(bundle: BundleOption = None, json: JsonOption = False, debug: DebugOption = False) -> None:
    """Measure a synthetic bundle on held-out simulated patients, whose truth is known."""
    with reported(debug):
        from .evaluate import run

        run(bundle, as_json=json)


@bundle_app.command()
def verify(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle directory; the embedded one by default.")] = None,
    debug: DebugOption = False,
) -> None:
    """Check every file of a bundle against its digest."""
    with reported(debug):
        from .bundle import run_verify

        run_verify(bundle)


@bundle_app.command()
def info(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle directory; the embedded one by default.")] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what is in a bundle, and how it was measured."""
    with reported(debug):
        from .bundle import run_info

        run_info(bundle, as_json=json)


def main() -> None:
    """Run the command line."""
    refuse_sockets()
    app()
