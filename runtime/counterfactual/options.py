"""What a user may choose about a counterfactual, and the numbers that it must lie between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..inference import PredictOptions
from .fusion import FUSIONS, NEIGHBOURS, TEXT_WEIGHT, Fusion, Search
from .niches import NICHES
from .null import RANDOM_EDITS

MOST_NICHES: Final = 8
"""More niches than colours that can be told apart help nobody."""

MOST_RANDOM_EDITS: Final = 10_000


@dataclass(frozen=True, slots=True)
class CounterfactualOptions:
    """How to run; the published values by default.

    Attributes:
        bundle: Bundle directory, or None for the embedded one.
        out: Folder in which a folder `<slide>-counterfactual` is made.
        name: Name that outputs bear in place of the slide's file name.
        device: auto, tensorrt, cuda or cpu.
        mpp: Micrometres per level-0 pixel, overriding what the slide says.
        fusion: sum, softmax or rrf.
        text_weight: Weight of the notes, 0 to 1; None takes the fusion's published one.
        neighbours: Patches behind each tile.
        niches: How many niches to look for.
        random_edits: Random edits to compare with.
        exclude_patients: Atlas patients who may not be evidence.
        force: Replace a finished result.
        threads: Threads; None takes all cores.
    """

    bundle: Path | None = None
    out: Path = Path("results")
    name: str | None = None
    device: str = "auto"
    mpp: float | None = None
    fusion: str = "sum"
    text_weight: float | None = None
    neighbours: int = NEIGHBOURS
    niches: int = NICHES
    random_edits: int = RANDOM_EDITS
    exclude_patients: tuple[str, ...] = ()
    force: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing, before any work."""
        if self.fusion not in FUSIONS:
            raise UsageError(f"--fusion must be one of {', '.join(FUSIONS)}.")
        if not 1 <= self.niches <= MOST_NICHES:
            raise UsageError(f"--niches must lie between 1 and {MOST_NICHES}, not {self.niches}.")
        if not 0 <= self.random_edits <= MOST_RANDOM_EDITS:
            raise UsageError(f"--random-edits must lie between 0 and {MOST_RANDOM_EDITS}, not {self.random_edits}.")
        self.for_model()

    def for_model(self) -> PredictOptions:
        """The same as options for opening the model; refuses the numbers that both share."""
        return PredictOptions(
            bundle=self.bundle,
            out=self.out,
            name=self.name,
            device=self.device,
            mpp=self.mpp,
            text_weight=self.text_weight,
            neighbours=self.neighbours,
            exclude_patients=self.exclude_patients,
            force=self.force,
            threads=self.threads,
        )

    def search(self, allowed: NDArray[np.bool_] | None) -> Search:
        """How evidence is ranked."""
        fusion: Fusion = next(known for known in FUSIONS if known == self.fusion)
        weight = TEXT_WEIGHT[fusion] if self.text_weight is None else self.text_weight
        return Search(fusion, weight, self.neighbours, allowed)
