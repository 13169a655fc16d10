"""What a user may choose about a run, and the numbers that it must lie between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

MOST_NEIGHBOURS = 1000
MOST_THREADS = 256
TOWERS = ("auto", "teacher", "student")
"""The bundle's own H&E tower, a small one that learned from it, or whichever suits the device."""

FAMILIES = ("auto", "haiku", "spade")
"""Proteins by Haiku, genes by SPADE, or all that the bundle holds."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How to predict; None takes the bundle's own value.

    Attributes:
        bundle: Bundle directory, or None for the embedded one.
        out: Folder in which a folder named after the slide is made.
        name: Name that outputs bear in place of the slide's file name.
        device: auto, tensorrt, cuda or cpu.
        mpp: Micrometres per level-0 pixel, overriding what the slide says.
        text_weight: Weight of the notes in the fused search, 0 to 1; refused where nothing reads notes.
        neighbours: Patches, and spots, behind each tile.
        exclude_patients: Atlas patients who may not be evidence.
        force: Replace a finished result.
        threads: Threads for decoding and for the engine; None takes all cores.
        strict: Allow only engines that equal fp32 but for rounding, and no student.
        tower: One of `TOWERS`.
        family: One of `FAMILIES`.
    """

    bundle: Path | None = None
    out: Path = Path("results")
    name: str | None = None
    device: str = "auto"
    mpp: float | None = None
    text_weight: float | None = None
    neighbours: int | None = None
    exclude_patients: tuple[str, ...] = ()
    force: bool = False
    threads: int | None = None
    strict: bool = False
    tower: str = "auto"
    family: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing, before any work."""
        if self.text_weight is not None and not 0 <= self.text_weight <= 1:
            raise UsageError(f"--text-weight must lie between 0 and 1, not {self.text_weight}.")
        if self.neighbours is not None and not 1 <= self.neighbours <= MOST_NEIGHBOURS:
            raise UsageError(f"--neighbours must lie between 1 and {MOST_NEIGHBOURS}, not {self.neighbours}.")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"--threads must lie between 1 and {MOST_THREADS}, not {self.threads}.")
        if self.family not in FAMILIES:
            raise UsageError(f"--family {self.family} is not one of {', '.join(FAMILIES)}.")
        if self.tower not in TOWERS:
            raise UsageError(f"--tower {self.tower} is not one of {', '.join(TOWERS)}.")
        if self.tower == "student" and self.strict:
            raise UsageError("--strict takes the bundle's own tower. Leave it out, or leave --tower student out.")
