"""The families of models that a run asks, fed by one pass over the slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle, opening_bundle
from ..bundle.sections import HETower
from ..engine import Engine
from ..engine.fingerprint import cpu_threads
from ..engine.model import SPADE
from ..errors import BundleContentError, UsageError
from .batching import Batching, batching
from .joint import JointEngine, View
from .model import Model, first_line, haiku_model
from .options import PredictOptions
from .patients import check_excluded
from .spade import SpadeModel, open_spade


@dataclass(frozen=True, slots=True)
class Families:
    """One or both families of a bundle; at least one is there.

    Attributes:
        bundle: The verified bundle.
        haiku: Proteins; None where the bundle has none, or they are not asked for.
        spade: Genes; None likewise.
        engine: What embeds a tile for all that are there.
        view: The tile to read.
        batching: How many tiles go through the engine at once.
        threads: Threads for decoding.
    """

    bundle: Bundle
    haiku: Model | None
    spade: SpadeModel | None
    engine: Engine
    view: View
    batching: Batching
    threads: int

    def towers(self) -> list[tuple[str, Engine]]:
        """Name and engine of each tower that runs."""
        haiku = [] if self.haiku is None else [(self.haiku.tower.name, self.haiku.engine)]
        return haiku + ([] if self.spade is None else [(SPADE, self.spade.engine)])

    def split(self, outputs: NDArray[np.float32]) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """What the engine gave for n tiles, as Haiku's part and SPADE's; None for one that is not there."""
        if isinstance(self.engine, JointEngine):
            haiku, spade = self.engine.split(outputs)
            return haiku, spade
        return (outputs, None) if self.haiku is not None else (None, outputs)

    def first_line(self) -> str:
        """Which device runs, with which bundle, for which use."""
        return first_line(self.bundle, self.engine, "" if self.haiku is None else self.haiku.tower.in_words())


def open_families(options: PredictOptions) -> Families:
    """Open and verify the bundle, and make the engines of what is asked of it.

    Raises:
        BundleError: The bundle is refused, or lacks what is asked for.
        DeviceUnavailableError: The asked-for device is not there.
        UsageError: A patient to exclude is not in the bundle, or nobody is left; or a student is asked of SPADE alone.
    """
    with opening_bundle(options.bundle) as bundle:
        return _families_of(bundle, options)


def _families_of(bundle: Bundle, options: PredictOptions) -> Families:
    threads = options.threads or cpu_threads()
    wanted = options.family.replace("auto", bundle.manifest.family)
    if options.tower == "student" and "haiku" not in wanted:
        raise UsageError("SPADE has no student. Leave --tower out.")
    if options.text_weight is not None:
        check_reads_notes(bundle, proteins="haiku" in wanted, option="--text-weight")
    check_excluded(bundle, options.exclude_patients)
    spade = open_spade(bundle, options, threads) if "spade" in wanted else None
    haiku = haiku_model(bundle, options) if "haiku" in wanted else None
    towers = [] if haiku is None else [(haiku.engine, haiku.tower.section)]
    towers += [] if spade is None else [(spade.engine, spade.section.tower)]
    engine, view = _join(towers)
    feeding = [batching(bundle, each.device.kind, section) for each, section in towers]
    return Families(bundle, haiku, spade, engine, view, min(feeding, key=lambda each: each.tiles), threads)


def check_reads_notes(bundle: Bundle, *, proteins: bool, option: str) -> None:
    """See that notes have a reader.

    Args:
        bundle: The bundle.
        proteins: Whether Haiku is asked, which alone reads notes.
        option: What was said of notes, for the message.

    Raises:
        BundleContentError: The bundle has no text tower, or SPADE alone is asked.
    """
    bundle.manifest.need_text()
    if not proteins:
        raise BundleContentError(
            f"SPADE alone is asked of the bundle {bundle.manifest.name}, and it reads no notes. Leave {option} out, or "
            "leave --family spade out."
        )


def _join(towers: list[tuple[Engine, HETower]]) -> tuple[Engine, View]:
    views = [View(section.tile_size, section.mpp) for _, section in towers]
    if len(towers) == 1:
        return towers[0][0], views[0]
    joint = JointEngine([engine for engine, _ in towers], views)
    return joint, joint.view
