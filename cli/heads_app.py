"""The options of `haiku-edge evaluate probes|mil|survival` and `haiku-edge train head`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .answer import answering
from .evaluate_app import CohortArgument, OutOption
from .options import BundleOption, DebugOption, ForceOption, JsonOption

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


def split_list(names: str | None) -> tuple[str, ...]:
    """Names that a comma separates."""
    return tuple(part.strip() for part in (names or "").split(",") if part.strip())


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
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .heads import run_probes

        groups, vectors = split_list(classes), split_list(features)
        tell(run_probes(cohort, target, groups, vectors, folds=folds, seed=seed, leaking=leaking))


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
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .heads import run_mil

        groups, vectors = split_list(classes), split_list(features)
        tell(run_mil(cohort, target, groups, vectors, preset, folds=folds, seed=seed))


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
    with answering(out=out, force=force, as_json=json, debug=debug) as tell:
        from .heads import run_survival

        vectors, facts = split_list(features), None if clinical is None else split_list(clinical)
        tell(run_survival(cohort, time, event, vectors, preset, facts, folds=folds, seed=seed))


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
    with answering(as_json=json, debug=debug) as tell:
        from .heads import HeadRequest, run_train_head

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
        tell(run_train_head(cohort, request, bundle, out, force=force))


def add_to(evaluate_app: typer.Typer, train_app: typer.Typer) -> None:
    """Put the commands below `haiku-edge evaluate` and `haiku-edge train`."""
    for command in (probes, mil, survival):
        evaluate_app.command(command.__name__)(command)
    train_app.command("head")(train_head)
