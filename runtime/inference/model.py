"""An open bundle with its engine: everything that a prediction needs but the case."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas, open_atlas
from ..bundle import Bundle, open_bundle
from ..engine import Engine, choose_engine
from ..report.schema import RESEARCH_USE_ONLY
from ..version import product
from .calibration import Calibration, CalibrationCases, calibrate, read_cases, without_patients
from .options import PredictOptions
from .retrieve import Retrieved, patients_allowed, retrieve


@dataclass(frozen=True, slots=True)
class Model:
    """An open bundle with its engine: everything but the case.

    Attributes:
        bundle: The verified bundle.
        atlas: Its evidence.
        engine: The H&E tower on the chosen device.
        cases: Calibration patients who are not excluded.
        allowed: (patches,) which patches may be evidence, or None for all.
        text_weight: Weight of the notes.
        neighbours: Patches behind each tile.
        threads: Threads for decoding.
    """

    bundle: Bundle
    atlas: Atlas
    engine: Engine
    cases: CalibrationCases
    allowed: NDArray[np.bool_] | None
    text_weight: float
    neighbours: int
    threads: int

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return self.bundle.manifest.he.tile_size

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
        return calibrate(
            self.atlas,
            self.cases,
            with_notes=with_notes,
            text_weight=self.text_weight,
            neighbours=self.neighbours,
            allowed=self.allowed,
            coverage=self.bundle.manifest.calibration.coverage,
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
        BundleError: The bundle is refused.
        DeviceUnavailableError: The asked-for device is not there.
        UsageError: A patient to exclude is not in the bundle.
    """
    bundle = open_bundle(options.bundle)
    manifest, atlas = bundle.manifest, open_atlas(bundle)
    cases = read_cases(bundle, atlas)
    threads = options.threads or len(os.sched_getaffinity(0))
    return Model(
        bundle=bundle,
        atlas=atlas,
        engine=choose_engine(bundle.read(manifest.he.file), device=options.device, threads=threads),
        cases=without_patients(cases, options.exclude_patients),
        allowed=patients_allowed(atlas, options.exclude_patients, cases.patients.tolist()),
        text_weight=manifest.retrieval.text_weight if options.text_weight is None else options.text_weight,
        neighbours=options.neighbours or manifest.retrieval.neighbours,
        threads=threads,
    )
