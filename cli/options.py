"""Options that several commands share, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="Bundle directory; the embedded one of Haiku by default. `spade` is the embedded one of SPADE.",
        show_default=False,
    ),
]
TextWeightOption = Annotated[
    float | None,
    typer.Option(
        "--text-weight",
        help="Weight of the notes for proteins, 0 to 1; the bundle's by default (0.2). SPADE reads no notes.",
        show_default=False,
    ),
]
NeighboursOption = Annotated[
    int | None,
    typer.Option(
        "--neighbours",
        help="mIF patches, and spots, behind each tile; the bundle's own numbers by default "
        "(embedded: 5 patches, 50 spots).",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, tensorrt, cuda or cpu. `auto` steps down and says why.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Threads to use; all cores by default.", show_default=False)
]
MppOption = Annotated[
    float | None, typer.Option("--mpp", help="Micrometres per pixel, if the slide doesn't say.", show_default=False)
]
ClinicalOption = Annotated[
    Path | None, typer.Option("--clinical", help="notes.json with the clinical facts.", show_default=False)
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name that outputs bear, not the file's own.", show_default=False)
]
ExcludePatientOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-patient", help="Atlas patient who may not be evidence; repeatable.", show_default=False),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Take only engines that equal fp32 but for rounding.")]
TowerOption = Annotated[
    str,
    typer.Option(
        "--tower", help="auto, teacher or student. `auto` takes the bundle's student, if any, where only a CPU runs."
    ),
]
FamilyOption = Annotated[
    str, typer.Option("--family", help="auto, haiku (proteins) or spade (genes); `auto` is all that the bundle holds.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a finished result.")]


def new_file(path: Path | None, *, force: bool) -> Path | None:
    """The file that a command will write, or None, once it is known that it may be written; before the work."""
    from haiku_edge.runtime.atomic import check_new_file

    if path is not None:
        check_new_file(path, force=force)
    return path
