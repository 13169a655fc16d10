"""The options of `haiku-edge evaluate probes|mil|survival` and `haiku-edge train head`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .evaluate_app import CohortArgument, OutOption
from .options import BundleOption, DebugOption, ForceOption, JsonOption, new_file

FeaturesOption = Annotated[
    str | None,
    typer.Option(
        "--features",
        help="Vectors to compare, such as he,mif,he+text; all that the cohort has by default.",
        show_default=False,
    ),
]
FoldsOption = Annotated[int, typer.Option("--folds", help="Outer folds of patients.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other folds and networks.")]
PresetOption = Annotated[
    str, typer.Option("--preset", help="Settings: mil, abmil, transmil, ridge, melanoma, crc-outcome, crc-survival …")
]
TargetOption = Annotated[str, typer.Option("--target", help="Clinical fact to predict.")]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        help="Values to tell apart, joined by | where they are one class: 'I|II,III|IV'; all by default.",
        show_default=False,
    ),
]
TimeOption = Annotated[str, typer.Option("--time", help="Fact with the time: months, or a number with its unit.")]
EventOption = Annotated[str, typer.Option("--event", help="Fact that says whether the event happened.")]


def probes(
    cohort: CohortArgument,
    target: TargetOption,
    classes: ClassesOption = None,
    features: FeaturesOption = None,
    folds: FoldsOption = 5,
    seed: SeedOption = 0,
    leaking: Annotated[
        bool, typer.Option("--leaking", help="Also measure as published, with folds over patches.")
    ] = False,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Predict a fact with linear probes, cross-validated by patient."""
    with reported(debug):
        from .heads import run_probes

        place = new_file(out, force=force)
        run_probes(cohort, target, classes, features, folds=folds, seed=seed, leaking=leaking, as_json=json, out=place)


def mil(
    cohort: CohortArgument,
    target: TargetOption,
    classes: ClassesOption = None,
    features: FeaturesOption = None,
    preset: PresetOption = "mil",
    folds: FoldsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Predict a fact of patients with attention over their patches, cross-validated by patient."""
    with reported(debug):
        from .heads import run_mil

        place = new_file(out, force=force)
        run_mil(cohort, target, classes, features, preset, folds=folds, seed=seed, as_json=json, out=place)


def survival(
    cohort: CohortArgument,
    time: TimeOption = "survival",
    event: EventOption = "survival_status",
    features: FeaturesOption = None,
    preset: PresetOption = "mil",
    clinical: Annotated[
        str | None,
        typer.Option(
            "--clinical",
            help="Facts of the clinical model; age,sex,stage,grade by default, '' for none.",
            show_default=False,
        ),
    ] = None,
    folds: FoldsOption = 5,
    seed: SeedOption = 0,
    out: OutOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Rank patients by risk, against clinical facts alone, cross-validated by patient."""
    with reported(debug):
        from .heads import run_survival

        place = new_file(out, force=force)
        run_survival(cohort, time, event, features, preset, clinical, folds=folds, seed=seed, as_json=json, out=place)


def train_head(
    cohort: CohortArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new bundle.", metavar="BUNDLE")],
    kind: Annotated[str, typer.Option("--kind", help="survival, slide (a class) or tile (a class of each tile).")],
    bundle: BundleOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the head in outputs; what it predicts by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Clinical fact that a classifier predicts.", show_default=False)
    ] = None,
    classes: ClassesOption = None,
    time: TimeOption = "survival",
    event: EventOption = "survival_status",
    features: Annotated[str, typer.Option("--features", help="he or he+text.")] = "he",
    preset: PresetOption = "mil",
    folds: FoldsOption = 5,
    seed: SeedOption = 0,
    exclude_patient: Annotated[
        list[str] | None,
        typer.Option("--exclude-patient", help="Patient who must not train it; repeatable.", show_default=False),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a head on a cohort that the bundle embedded, and write a bundle that has it."""
    with reported(debug):
        from .heads import HeadRequest, run_train_head, split_list

        asked = time if kind == "survival" else target or kind
        request = HeadRequest(
            kind,
            name or asked,
            target,
            split_list(classes),
            time,
            event,
            features,
            preset,
            folds,
            seed,
            tuple(exclude_patient or ()),
        )
        run_train_head(cohort, request, bundle, out, force=force, as_json=json)


def add_to(evaluate_app: typer.Typer, train_app: typer.Typer) -> None:
    """Put the commands below `haiku-edge evaluate` and `haiku-edge train`."""
    for command in (probes, mil, survival):
        evaluate_app.command(command.__name__)(command)
    train_app.command("head")(train_head)
