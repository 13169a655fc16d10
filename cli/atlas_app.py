"""`haiku-edge atlas …` and `haiku-edge embed`: the commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import reported
from .options import BundleOption, DebugOption, DeviceOption, ForceOption, JsonOption, ThreadsOption

app = typer.Typer(no_args_is_help=True, help="Make, extend, check or describe the evidence: measured mIF patches.")

FolderArgument = Annotated[
    Path, typer.Argument(readable=False, help="Patches: an atlas folder, HDF5 files, or the published single files.")
]
AtlasArgument = Annotated[
    Path | None, typer.Argument(readable=False, help="A bundle or a folder of patches; the embedded bundle by default.")
]
LayoutMppOption = Annotated[
    float | None,
    typer.Option("--mpp", help="µm per pixel of a published layout, which does not state it; 0.3775 by default."),
]
DropUnknownOption = Annotated[
    bool, typer.Option("--drop-unknown-markers", help="Leave out markers that the mIF tower does not know.")
]
AnyMppOption = Annotated[
    bool, typer.Option("--any-mpp", help="Take patches of another resolution than the towers were made for.")
]


@app.command()
def build(
    regions: Annotated[Path, typer.Argument(readable=False, help="Folder with regions.csv and registered images.")],
    out: Annotated[Path, typer.Option("--out", help="The atlas folder to write.")],
    mpp: Annotated[float, typer.Option("--mpp", min=0.01, help="µm per pixel of the patches.")] = 0.3775,
    mpp_he: Annotated[
        float | None, typer.Option("--mpp-he", min=0.01, help="µm per pixel of H&E images that don't state it.")
    ] = None,
    mpp_mif: Annotated[
        float | None, typer.Option("--mpp-mif", min=0.01, help="µm per pixel of mIF images that don't state it.")
    ] = None,
    least_tissue: Annotated[
        float, typer.Option("--least-tissue", min=0, max=1, help="Least share of tissue of a patch.")
    ] = 0.9,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws where each region's grid begins.")] = 0,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Cut registered H&E/mIF regions into patches with measurements and captions."""
    with reported(debug):
        from haiku_edge.export.atlas.from_regions import RegionSettings

        from .atlas import run_build

        run_build(regions, out, RegionSettings(mpp, mpp_mif, mpp_he, least_tissue, seed, force))


@app.command()
def add(
    bundle: Annotated[Path, typer.Argument(readable=False, help="The bundle whose towers embed; it is not changed.")],
    folder: FolderArgument,
    out: Annotated[Path, typer.Option("--out", help="The new bundle.")],
    mpp: LayoutMppOption = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Draws the calibration patients, where the folder names none.")
    ] = 0,
    calibration_share: Annotated[
        float, typer.Option("--calibration-share", min=0, max=0.9, help="Share of the patients drawn for calibration.")
    ] = 0.3,
    drop_unknown_markers: DropUnknownOption = False,
    any_mpp: AnyMppOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Embed patches with a bundle's towers, and write a new bundle that has them as evidence."""
    with reported(debug):
        from haiku_edge.export.atlas.add import AddSettings

        from .atlas import run_add

        settings = AddSettings(device, threads, drop_unknown_markers, any_mpp, seed, calibration_share, force)
        run_add(bundle, folder, out, mpp, settings)


@app.command()
def verify(path: AtlasArgument = None, debug: DebugOption = False) -> None:
    """Check digests, vectors, leakage, the index and pictures; or read every patch of a folder."""
    with reported(debug):
        from .atlas import run_verify

        if not run_verify(path):
            raise typer.Exit(1)


@app.command()
def info(path: AtlasArgument = None, json: JsonOption = False, debug: DebugOption = False) -> None:
    """Say what an atlas holds, and how it was made."""
    with reported(debug):
        from .atlas import run_info

        run_info(path, as_json=json)


def embed(
    dataset: FolderArgument,
    out: Annotated[Path, typer.Option("--out", help="The cohort, a Parquet file.")] = Path("cohort.parquet"),
    bundle: BundleOption = None,
    mpp: LayoutMppOption = None,
    drop_unknown_markers: DropUnknownOption = False,
    any_mpp: AnyMppOption = False,
    with_outcomes: Annotated[
        bool,
        typer.Option("--with-outcomes", help="Let the notes' vectors know survival, which a new case's notes can't."),
    ] = False,
    hide: Annotated[
        list[str] | None,
        typer.Option("--hide", help="Fact that the notes' vectors must not know; repeatable.", show_default=False),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Embed patches with a bundle's towers into a cohort, which the evaluation and training of heads take."""
    with reported(debug):
        from .embed import run

        run(
            dataset,
            bundle,
            out,
            mpp=mpp,
            device=device,
            threads=threads,
            drop_unknown=drop_unknown_markers,
            any_mpp=any_mpp,
            outcomes=with_outcomes,
            hide=tuple(hide or ()),
            force=force,
        )
