"""An open bundle with its engine: everything that a prediction needs but the case."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas, open_atlas
from ..bundle import Bundle, open_bundle
from ..engine import Engine, open_tower
from ..notice import RESEARCH_USE_ONLY
from ..version import product
from .batching import Batching, batching
from .calibration import Calibration, CalibrationCases, calibrate, read_cases, uncalibrated, without_patients
from .head_graph import try_heads
from .heads import Head, read_heads
from .options import PredictOptions
from .retrieve import Retrieved, patients_allowed, retrieve


@dataclass(frozen=True, slots=True)
class Model:
    """An open bundle with its engine: everything but the case.

    Attributes:
        bundle: The verified bundle.
        atlas: Its evidence.
        engine: The H&E tower on the chosen device.
        cases: Calibration patients who are not excluded; None where the bundle has none.
        allowed: (patches,) which patches may be evidence, or None for all.
        text_weight: Weight of the notes.
        neighbours: Patches behind each tile.
        heads: Trained heads with the patients that they were trained on.
        threads: Threads for decoding.
    """

    bundle: Bundle
    atlas: Atlas
    engine: Engine
    cases: CalibrationCases | None
    allowed: NDArray[np.bool_] | None
    text_weight: float
    neighbours: int
    heads: tuple[Head, ...]
    threads: int

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return self.bundle.manifest.he.tile_size

    @property
    def batching(self) -> Batching:
        """How many tiles go through the engine at once."""
        return batching(self.bundle)

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of a tile."""
        return self.bundle.manifest.he.mpp

    def search(self, he: NDArray[np.float32], text: NDArray[np.float32] | None) -> Retrieved:
        """The neighbours of n tiles, with the notes' vector or without."""
        return retrieve(
            self.atlas, he, text, text_weight=self.text_weight, neighbours=self.neighbours, allowed=self.allowed
        )

    def calibrate(self, *, with_notes: bool) -> Calibration:
        """What the calibration patients say about this way of predicting."""
        section = self.bundle.manifest.calibration
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
        device, manifest = self.engine.device, self.bundle.manifest
        kind = "synthetic bundle" if manifest.synthetic else "bundle"
        return (
            f"{product()} on {device.kind} ({device.name}; {device.reason}), "
            f"{kind} {manifest.name} {manifest.version} ({self.bundle.digest[:12]}). {RESEARCH_USE_ONLY}"
        )


def open_model(options: PredictOptions) -> Model:
    """Open and verify the bundle, and make its H&E engine.

    Raises:
        BundleError: The bundle is refused, or has no atlas.
        DeviceUnavailableError: The asked-for device is not there.
        UsageError: A patient to exclude is not in the bundle.
    """
    bundle = open_bundle(options.bundle)
    manifest, atlas = bundle.manifest, open_atlas(bundle)
    cases = None if manifest.calibration is None else read_cases(bundle, atlas)
    heads = read_heads(bundle)
    try_heads(heads, manifest.embedding_dimension)
    known = {str(patient) for part in (cases, *heads) if part is not None for patient in part.patients}
    threads = options.threads or len(os.sched_getaffinity(0))
    return Model(
        bundle=bundle,
        atlas=atlas,
        engine=open_tower(bundle, manifest.he, device=options.device, threads=threads),
        cases=None if cases is None else without_patients(cases, options.exclude_patients),
        allowed=patients_allowed(atlas, options.exclude_patients, known),
        text_weight=manifest.retrieval.text_weight if options.text_weight is None else options.text_weight,
        neighbours=options.neighbours or manifest.retrieval.neighbours,
        heads=heads,
        threads=threads,
    )
