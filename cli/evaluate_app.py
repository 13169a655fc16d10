"""`haiku-edge evaluate …`: the commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .answer import answering
from .options import BundleOption, DebugOption, ForceOption, JsonOption, new_file

app = typer.Typer(
    invoke_without_command=True,
    help="Measure a synthetic bundle on held-out simulated patients, or run a task on an embedded cohort.",
)

CohortArgument = Annotated[
    Path, typer.Argument(help="Embedded cohort, as `haiku-edge embed` writes it.", readable=False, metavar="COHORT")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="File for the figures as JSON.", show_default=False, metavar="FILE.json")
]
LabelOption = Annotated[
    str | None,
    typer.Option("--label", help="Clinical fact with the classes; disease by default.", show_default=False),
]


@app.callback()
def evaluate(
    context: typer.Context,
    bundle: BundleOption = None,
    write_cohort: Annotated[
        Path | None,
        typer.Option(
            "--write-cohort",
            help="Write the simulated held-out patients, embedded, to try the other commands on; measure nothing.",
            show_default=False,
            metavar="COHORT",
        ),
    ] = None,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a synthetic bundle on held-out simulated patients, or run a task on an embedded cohort."""
    if context.invoked_subcommand is not None:
        if bundle or write_cohort or out or force or json:
            raise typer.BadParameter(f"options go behind the task: evaluate {context.invoked_subcommand} COHORT …")
        return
    if write_cohort and (out or json):
        raise typer.BadParameter("--write-cohort measures nothing, so it has no figures for --out or --json")
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        cohort = new_file(write_cohort, force=force)
        from .evaluate import run_held_out, write_held_out

        if cohort is None:
            tell(run_held_out(bundle))
        else:
            write_held_out(bundle, cohort)


@app.command()
def retrieval(
    cohort: CohortArgument,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="Clinical fact as label; repeatable; tissue and disease by default."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Let a patient's own patches be found by label, as published.")
    ] = False,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find each patch's partner, and patches of the same label, among the modalities."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .evaluate import run_retrieval

        tell(run_retrieval(cohort, tuple(label or ()), published=published))


@app.command()
def biomarkers(
    cohort: CohortArgument,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="Bundle whose atlas answers; the cohort itself by default.", show_default=False),
    ] = None,
    text_weight: Annotated[float, typer.Option("--text-weight", min=0, max=1, help="Weight of the notes.")] = 0.2,
    neighbours: Annotated[int, typer.Option("--neighbours", min=1, help="mIF patches behind each patch.")] = 5,
    temperature: Annotated[float, typer.Option("--temperature", min=0.001, help="Of the neighbours' softmax.")] = 1.0,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Infer markers from H&E and notes, published and honest, with less and less of the patient in the gallery."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from haiku_edge.export.evaluation.expression import Setting

        from .evaluate import run_biomarkers

        tell(run_biomarkers(cohort, bundle, Setting(text_weight, neighbours, temperature)))


@app.command("zero-shot")
def zero_shot(
    cohort: CohortArgument,
    bundle: BundleOption = None,
    label: LabelOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Classify patches by the sentence that fits best, with five templates."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .evaluate import run_zero_shot

        tell(run_zero_shot(cohort, bundle, label))


@app.command()
def knn(
    cohort: CohortArgument,
    label: LabelOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Classify patches by the vote of those that look like them, with and without the patient's own."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .evaluate import run_knn

        tell(run_knn(cohort, label))
