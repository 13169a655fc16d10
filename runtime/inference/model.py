"""An open bundle with its engine: everything that a prediction needs but the case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas, open_atlas
from ..bundle import Bundle, opening_bundle
from ..engine import Engine
from ..engine.fingerprint import cpu_threads
from ..notice import RESEARCH_USE_ONLY
from ..version import product
from .batching import Batching, batching
from .calibration import Calibration, CalibrationCases, calibrate, read_cases, uncalibrated, without_patients
from .he_tower import OpenTower, open_he_tower
from .head_graph import try_heads
from .heads import Head, read_heads
from .options import PredictOptions
from .patients import check_excluded
from .retrieve import Retrieved, patients_allowed, retrieve


@dataclass(frozen=True, slots=True)
class Model:
    """An open bundle with its engine: everything but the case.

    Attributes:
        bundle: The verified bundle.
        atlas: Its evidence.
        tower: The H&E tower that runs: the bundle's own, or a student.
        cases: Calibration patients who are not excluded; None where the tower has none.
        allowed: (patches,) which patches may be evidence, or None for all.
        text_weight: Weight of the notes.
        neighbours: Patches behind each tile.
        heads: Trained heads with the patients that they were trained on.
        threads: Threads for decoding.
    """

    bundle: Bundle
    atlas: Atlas
    tower: OpenTower
    cases: CalibrationCases | None
    allowed: NDArray[np.bool_] | None
    text_weight: float
    neighbours: int
    heads: tuple[Head, ...]
    threads: int

    @property
    def engine(self) -> Engine:
        """The H&E tower on the chosen device."""
        return self.tower.engine

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return self.tower.section.tile_size

    @property
    def batching(self) -> Batching:
        """How many tiles go through the engine at once."""
        return batching(self.bundle, self.engine.device.kind, self.tower.section)

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of a tile."""
        return self.tower.section.mpp

    def search(self, he: NDArray[np.float32], text: NDArray[np.float32] | None) -> Retrieved:
        """The neighbours of n tiles, with the notes' vector or without."""
        return retrieve(
            self.atlas, he, text, text_weight=self.text_weight, neighbours=self.neighbours, allowed=self.allowed
        )

    def calibrate(self, *, with_notes: bool) -> Calibration:
        """What the calibration patients say about this way of predicting."""
        section = self.tower.calibration
        if section is None or self.cases is None:
            return uncalibrated(len(self.atlas.markers))
        return calibrate(
            self.atlas,
            self.cases,
            with_notes=with_notes,
            text_weight=self.text_weight,
            neighbours=self.neighbours,
            allowed=self.allowed,
            coverage=section.coverage,
        )

    def first_line(self) -> str:
        """Which device runs, with which bundle, for which use."""
        return first_line(self.bundle, self.engine, self.tower.in_words())


def first_line(bundle: Bundle, engine: Engine, remark: str = "") -> str:
    """Which device runs, with which bundle, for which use.

    Args:
        bundle: The bundle.
        engine: Its tower on the device.
        remark: What to know of the tower; empty where there is nothing.
    """
    device, manifest = engine.device, bundle.manifest
    kind = "synthetic bundle" if manifest.synthetic else "bundle"
    why = f"{device.reason}; {remark}" if remark else device.reason
    return (
        f"{product()} on {device.kind} ({device.name}; {device.provider}, {device.precision}; {why}), "
        f"{kind} {manifest.name} {manifest.version} ({bundle.digest[:12]}). {RESEARCH_USE_ONLY}"
    )


def open_model(options: PredictOptions) -> Model:
    """Open and verify the bundle, and make its H&E engine; what neither needs is verified meanwhile.

    Raises:
        BundleError: The bundle is refused, or has no atlas, or no student where one is asked for.
        DeviceUnavailableError: The asked-for device is not there.
        UsageError: A patient to exclude is not in the bundle.
    """
    with opening_bundle(options.bundle) as bundle:
        check_excluded(bundle, options.exclude_patients)
        return haiku_model(bundle, options)


def haiku_model(bundle: Bundle, options: PredictOptions) -> Model:
    """Make Haiku's engine of an open bundle, and open its evidence.

    Args:
        bundle: The open bundle.
        options: How to predict; whom it excludes is in the bundle (`check_excluded`).

    Raises:
        BundleError, DeviceUnavailableError, UsageError: See `open_model`.
    """
    manifest = bundle.manifest
    manifest.need_he()
    atlas, heads = open_atlas(bundle), read_heads(bundle)
    try_heads(heads, manifest.embedding_dimension)
    threads = options.threads or cpu_threads()
    tower = open_he_tower(bundle, tower=options.tower, device=options.device, threads=threads, strict=options.strict)
    cases = None if tower.calibration is None else read_cases(bundle, atlas, tower.calibration)
    return Model(
        bundle=bundle,
        atlas=atlas,
        tower=tower,
        cases=None if cases is None else without_patients(cases, options.exclude_patients),
        allowed=patients_allowed(atlas, options.exclude_patients),
        text_weight=manifest.retrieval.text_weight if options.text_weight is None else options.text_weight,
        neighbours=options.neighbours or manifest.retrieval.neighbours,
        heads=heads,
        threads=threads,
    )
