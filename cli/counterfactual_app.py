"""The options of `haiku-edge counterfactual` and of `haiku-edge evaluate counterfactual`."""

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
    MppOption,
    NameOption,
    ThreadsOption,
    new_file,
)

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Field of the notes and its new value; repeatable. survival=x2.4 multiplies.",
        metavar="FIELD=VALUE",
    ),
]
FusionOption = Annotated[str, typer.Option("--fusion", help="How tissue and notes rank together: sum, softmax or rrf.")]
TextWeightOption = Annotated[
    float | None,
    typer.Option("--text-weight", help="Weight of the notes, 0 to 1; as published by default (0.4; rrf 0.3)."),
]
NeighboursOption = Annotated[int, typer.Option("--neighbours", help="mIF patches behind each tile.")]


def counterfactual(
    slide: Annotated[
        Path, typer.Argument(readable=False, help="A slide: SVS or other file, DICOM file, folder or zip.")
    ],
    clinical: Annotated[Path, typer.Option("--clinical", help="notes.json with the clinical facts.")],
    sets: SetOption = None,
    bundle: BundleOption = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; a folder SLIDE-counterfactual is made in it.")
    ] = Path("results"),
    name: NameOption = None,
    device: DeviceOption = "auto",
    mpp: MppOption = None,
    fusion: FusionOption = "sum",
    text_weight: TextWeightOption = None,
    neighbours: NeighboursOption = 50,
    niches: Annotated[int, typer.Option("--niches", help="Groups of tiles that look alike, 1 to 8.")] = 4,
    random_edits: Annotated[int, typer.Option("--random-edits", help="Random edits to compare with.")] = 100,
    exclude_patient: ExcludePatientOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
    threads: ThreadsOption = None,
    debug: DebugOption = False,
) -> None:
    """Keep the tissue, edit the notes: how the evidence and its markers change. Exploratory."""
    from haiku_edge.runtime.isolation import in_child, reading_slide, run_in_child

    with reported(debug):
        if not in_child():
            raise typer.Exit(run_in_child("haiku_edge.cli", sys.argv[1:], reading_slide(slide.name)))
        from haiku_edge.runtime.counterfactual import CounterfactualOptions

        from .counterfactual import run

        options = CounterfactualOptions(
            bundle=bundle,
            out=out,
            name=name,
            device=device,
            mpp=mpp,
            fusion=fusion,
            text_weight=text_weight,
            neighbours=neighbours,
            niches=niches,
            random_edits=random_edits,
            exclude_patients=tuple(exclude_patient or ()),
            force=force,
            threads=threads,
        )
        run(slide, clinical, tuple(sets or ()), options, as_json=json)


def evaluate_counterfactual(
    cohort: Annotated[
        Path, typer.Argument(help="Embedded cohort, as `haiku-edge embed` writes it.", readable=False, metavar="COHORT")
    ],
    sets: SetOption = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="Only patients with this value; repeatable.", metavar="FIELD=VALUE"),
    ] = None,
    bundle: BundleOption = None,
    own_gallery: Annotated[
        bool, typer.Option("--own-gallery", help="Search the cohort's own mIF patches, not the bundle's atlas.")
    ] = False,
    fusion: FusionOption = "sum",
    text_weight: TextWeightOption = None,
    neighbours: NeighboursOption = 50,
    least_patches: Annotated[int, typer.Option("--least-patches", min=1, help="Patches that a patient needs.")] = 5,
    random_edits: Annotated[int, typer.Option("--random-edits", help="Random edits to compare with.")] = 50,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File for the figures as JSON.", show_default=False, metavar="FILE.json"),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Edit the same facts of every patient, and test over patients what their evidence then shows. Exploratory."""
    with reported(debug):
        from haiku_edge.runtime.counterfactual import CounterfactualOptions

        from .counterfactual import run_cohort

        options = CounterfactualOptions(
            bundle=bundle,
            fusion=fusion,
            text_weight=text_weight,
            neighbours=neighbours,
            random_edits=random_edits,
        )
        run_cohort(
            cohort,
            tuple(sets or ()),
            tuple(where or ()),
            options,
            least_patches=least_patches,
            own=own_gallery,
            as_json=json,
            out=new_file(out, force=force),
        )
