"""The options of `haiku-edge evaluate spade …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .answer import answering
from .evaluate_app import OutOption
from .heads_app import ClassesOption, EventOption, FoldsOption, SeedOption, TargetOption, TimeOption, split_list
from .options import DebugOption, ForceOption, JsonOption

app = typer.Typer(
    no_args_is_help=True,
    help="Measure a SPADE mixture of experts against image features, one expert and random clusters, on spots.",
)

SpotsArgument = Annotated[
    Path, typer.Argument(help="Cohort of embedded spots.", readable=False, metavar="COHORT", show_default=False)
]
SubjectOption = Annotated[str, typer.Option("--subject", help="Representation that is judged against the others.")]
NeighboursOption = Annotated[int, typer.Option("--neighbours", min=1, help="Spots behind each prediction.")]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", min=0.001, help="Of the softmax over the neighbours' cosines.")
]
HeadsOption = Annotated[
    str | None,
    typer.Option(
        "--heads",
        help="Presets of the heads, such as abmil,transmil-hazards,ridge; all of the question by default.",
        show_default=False,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Heads that are cross-validated at once; as many as there are cores by default.",
        show_default=False,
    ),
]


@app.command()
def expression(
    cohort: SpotsArgument,
    subject: SubjectOption = "SPADE",
    neighbours: NeighboursOption = 20,
    temperature: TemperatureOption = 1.0,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Predict each spot's genes from the most similar spots of other patients, by every representation."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from haiku_edge.export.evaluation.spade import Search

        from .spade_evaluation import run_expression

        tell(run_expression(cohort, subject, Search(neighbours, temperature)))


@app.command("few-shot")
def few_shot(
    cohort: SpotsArgument,
    label: Annotated[str, typer.Option("--label", help="What is told apart: organ, or a clinical fact.")] = "organ",
    subject: SubjectOption = "SPADE",
    draws: Annotated[int, typer.Option("--draws", min=2, help="Draws of patients and shots.")] = 20,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell a label apart with 1 to 64 labelled patches or slides a class."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .spade_evaluation import run_few_shot

        tell(run_few_shot(cohort, label, subject, draws=draws))


@app.command()
def slides(
    cohort: SpotsArgument,
    target: TargetOption,
    classes: ClassesOption = None,
    heads: HeadsOption = None,
    subject: SubjectOption = "SPADE",
    folds: FoldsOption = 5,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Predict a fact of patients with gated ABMIL, TransMIL and a linear layer, cross-validated by patient."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .spade_evaluation import run_slides

        groups, networks = split_list(classes), split_list(heads)
        tell(run_slides(cohort, target, groups, networks, subject, folds=folds, seed=seed, workers=workers))


@app.command()
def survival(
    cohort: SpotsArgument,
    time: TimeOption = "survival",
    event: EventOption = "survival_status",
    heads: HeadsOption = None,
    subject: SubjectOption = "SPADE",
    folds: FoldsOption = 5,
    seed: SeedOption = 0,
    workers: WorkersOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Rank patients by risk with the same heads, by the Cox likelihood and by hazards in four stretches of time."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .spade_evaluation import run_survival

        tell(run_survival(cohort, time, event, split_list(heads), subject, folds=folds, seed=seed, workers=workers))


@app.command()
def routing(
    cohort: SpotsArgument,
    subject: SubjectOption = "SPADE",
    neighbours: NeighboursOption = 20,
    temperature: TemperatureOption = 1.0,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what hard and top-m routing change."""
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from haiku_edge.export.evaluation.spade import Search

        from .spade_evaluation import run_routing

        tell(run_routing(cohort, subject, Search(neighbours, temperature)))
