"""`haiku-edge export spade`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import DebugOption, ForceOption, JsonOption

CheckpointArgument = Annotated[
    Path, typer.Argument(readable=False, help="Folder of a released SPADE checkpoint, or of `train spade`.")
]
EncoderOption = Annotated[
    Path | None,
    typer.Option(
        "--encoder",
        help="What the experts learned with: a timm checkpoint, or a bundle's H&E tower; the embedded one by default.",
        show_default=False,
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="The bundle's folder.")]
AtlasOption = Annotated[
    Path | None, typer.Option("--atlas", help="Dataset of spots that become the evidence.", show_default=False)
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="Dataset of other patients' spots that calibrate; without it some of the atlas's patients do.",
        show_default=False,
    ),
]
GenesOption = Annotated[
    str, typer.Option("--genes", help="How many genes to tell of, the most variable; or a file with their names.")
]
KeysOption = Annotated[str, typer.Option("--keys", help="auto, image or expression: what a tile is compared with.")]
NeighboursOption = Annotated[
    int | None, typer.Option("--neighbours", min=1, max=1000, help="Spots behind each tile.", show_default="chosen")
]
TileOption = Annotated[
    int | None,
    typer.Option("--tile", min=16, help="Pixels of a tile; its middle is seen.", show_default="the encoder's"),
]
MppOption = Annotated[
    float | None,
    typer.Option(
        "--mpp", min=0.05, max=100, help="Micrometres per pixel of a tile.", show_default="the encoder's, or 0.5"
    ),
]
TopOption = Annotated[
    int | None, typer.Option("--top", min=1, help="Experts that speak for a tile; 1 is hard.", show_default="all")
]
StorageOption = Annotated[
    str, typer.Option("--storage", help="fp32 or fp16: how matrices are stored; the arithmetic is fp32.")
]
IntoOption = Annotated[
    Path | None,
    typer.Option("--into", help="Bundle of Haiku: the new bundle then holds both.", show_default=False),
]
SpotsOption = Annotated[
    int | None, typer.Option("--spots", min=1, help="Spots of a section of the atlas at most.", show_default="all")
]
CasesOption = Annotated[
    int | None, typer.Option("--cases", min=1, help="Spots of a calibrating section at most.", show_default="all")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Draws calibration patients and spots.")]


def spade(
    checkpoint: CheckpointArgument,
    out: OutOption,
    encoder: EncoderOption = None,
    atlas: AtlasOption = None,
    calibration: CalibrationOption = None,
    genes: GenesOption = "200",
    keys: KeysOption = "auto",
    neighbours: NeighboursOption = None,
    tile: TileOption = None,
    mpp: MppOption = None,
    top: TopOption = None,
    storage: StorageOption = "fp32",
    into: IntoOption = None,
    spots: SpotsOption = None,
    cases: CasesOption = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Export a mixture of experts (SPADE) with its image encoder and an atlas of spots as a bundle."""
    with reported(debug):
        from .export_spade import run_spade, spade_options

        options = spade_options(
            atlas=atlas,
            calibration=calibration,
            genes=genes,
            keys=keys,
            neighbours=neighbours,
            tile=tile,
            mpp=mpp,
            top=top,
            storage=storage,
            into=into,
            spots=spots,
            cases=cases,
            seed=seed,
            force=force,
        )
        run_spade(checkpoint, encoder, out, options, as_json=json)
