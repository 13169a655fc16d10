"""The simulated cohort of the embedded bundle: patients are split before anything else, then rendered and cut up."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import synthetic
from .overlap import BLOCK, overlapping_patches
from .synthetic import Patches, Patient, patches, render_region, simulate_cohort
from .synthetic.vocabulary import PANELS

PATCH = 256
"""Side of a patch in pixels."""

PROBE_TOLERANCE = 0.05
"""Largest difference of any number of `simulator_probe` (of 255) between two machines with the same simulator."""

LEAST_TISSUE = 0.25
"""Least share of tissue of a patch that is used: the run time passes over tiles of glass too."""

GALLERIES = "galleries"
"""Name of the part that the galleries are of: other regions of the test patients."""

GALLERY_OVERLAP = 0.3
"""Share of a patch's side that the next one overlaps in the galleries, as in the published atlas."""

GALLERY_STRIDE = int(PATCH * (1 - GALLERY_OVERLAP))
"""Pixels from patch to patch in the galleries."""

GALLERY_PANELS = (PANELS[0], PANELS[0], PANELS[1], PANELS[0], PANELS[0], PANELS[2])
"""Panels of the galleries, patient after patient. So each marker that a panel lacks is measured by about five patients
of six: often enough for the published procedure to keep it (80 %), and not everywhere."""


@dataclass(frozen=True, slots=True)
class Split:
    """How many patients each part has, and how large their regions are.

    The parts follow each other in the cohort: the first `train` patients train, the next `atlas` are evidence, then
    calibration, then test. No patient is in two parts. The galleries are of the test patients, but of other regions of
    their sections, stained with `GALLERY_PANELS` and cut into patches that overlap.

    Attributes:
        train: Patients that the towers learn from.
        atlas: Patients of the atlas.
        calibration: Patients of the calibration cases.
        test: Patients held out for the evaluation.
        train_side: Side of a training region in patches.
        atlas_side: Side of an atlas region in patches.
        held_out_side: Side of a calibration or test region in patches.
        gallery_regions: Regions of each test patient in the galleries.
        gallery_side: Overlapping patches along a side of such a region.
    """

    train: int = 600
    atlas: int = 104
    calibration: int = 60
    test: int = 40
    train_side: int = 2
    atlas_side: int = 3
    held_out_side: int = 3
    gallery_regions: int = 2
    gallery_side: int = 3

    @property
    def patients(self) -> int:
        """All patients."""
        return self.train + self.atlas + self.calibration + self.test

    def part(self, name: str) -> range:
        """Positions in the cohort of one part: train, atlas, calibration or test."""
        first = 0
        for part in ("train", "atlas", "calibration", "test"):
            count: int = getattr(self, part)
            if part == name:
                return range(first, first + count)
            first += count
        raise KeyError(name)

    def side(self, name: str) -> int:
        """Side of the regions of a part, in patches."""
        return {"train": self.train_side, "atlas": self.atlas_side}.get(name, self.held_out_side)

    @property
    def gallery_pixels(self) -> int:
        """Side of a region of the galleries in pixels: its patches, and what fills the last block."""
        needed = PATCH + (self.gallery_side - 1) * GALLERY_STRIDE
        return -(-needed // BLOCK) * BLOCK


QUICK_SPLIT = Split(
    train=10, atlas=4, calibration=10, test=4, train_side=2, atlas_side=2, held_out_side=2, gallery_side=2
)
"""A split that runs in seconds: the road end to end, without quality."""


@dataclass(frozen=True, slots=True)
class Section:
    """One patient's region, cut into patches.

    Attributes:
        he: (n, 256, 256, 3) uint8.
        mif: (n, m, 256, 256) uint8 in the order of MARKERS; channels outside the panel are 0.
        expression: (n, m) float32, mean intensity 0…255, NaN where the panel lacks the marker.
        expected: (n, m) float32, what one who knew the visible cells and the facts would expect.
        expected_without_facts: (n, m) float32, what one who knew the visible cells alone would expect.
        origins: (n, 2) int32, top-left corners (x, y) in pixels of the region.
    """

    he: NDArray[np.uint8]
    mif: NDArray[np.uint8]
    expression: NDArray[np.float32]
    expected: NDArray[np.float32]
    expected_without_facts: NDArray[np.float32]
    origins: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the split: patients and where their sections lie on disk.

    Attributes:
        patients: The patient of each section; in the galleries a patient stands here once a region.
        files: One npz file a section, in the same order.
    """

    patients: tuple[Patient, ...]
    files: tuple[Path, ...]

    def sections(self) -> Iterator[tuple[Patient, Section]]:
        """Read one section after the other."""
        for patient, file in zip(self.patients, self.files, strict=True):
            with np.load(file, allow_pickle=False) as stored:
                yield patient, Section(**{field.name: stored[field.name] for field in fields(Section)})


def simulator_probe() -> list[float]:
    """A few numbers that another simulator would hardly give: mean expression of three small regions.

    Unlike `simulator_digest` they stay when only comments of the simulator change, so that a shipped bundle can say
    which simulator drew its patients. Compare within `PROBE_TOLERANCE`: another processor may round differently.
    """
    probes = [patches(render_region(patient, PATCH, PATCH)) for patient in simulate_cohort(3, 0)]
    return [round(float(value), 2) for probe in probes for value in np.nan_to_num(probe.expression[0])]


def simulator_digest() -> str:
    """First half of the SHA-256 over the simulator's sources: cached sections of another simulator never count."""
    digest = hashlib.sha256()
    folder = Path(next(iter(synthetic.__path__)))
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def simulate_part(name: str, split: Split, seed: int, cache: Path, processes: int = 2) -> Part:
    """Render the sections of one part, or find them in the cache.

    Args:
        name: train, atlas, calibration, test or galleries.
        split: The split.
        seed: Seed of the cohort.
        cache: Folder for the sections; grows by about 1.4 MB a patch.
        processes: Sections rendered at the same time; does not change them.
    """
    cohort = simulate_cohort(split.patients, seed)
    plan = _plan_galleries if name == GALLERIES else partial(_plan_part, name)
    drawings = plan(cohort, split, cache, f"{simulator_digest()}-{seed}")
    _render_all([drawing for drawing in drawings if not drawing.file.exists()], processes)
    return Part(tuple(drawing.patient for drawing in drawings), tuple(drawing.file for drawing in drawings))


@dataclass(frozen=True, slots=True)
class _Drawing:
    """One section to be rendered.

    Attributes:
        patient: Whose.
        file: Where it goes.
        side: Side of the region in pixels.
        region: Which region of the patient's tissue, see `render_region`; None is the first.
        stride: Pixels from patch to patch.
    """

    patient: Patient
    file: Path
    side: int
    region: int | None = None
    stride: int = PATCH


def _plan_part(name: str, cohort: Sequence[Patient], split: Split, cache: Path, common: str) -> list[_Drawing]:
    """The first region of each patient of a part."""
    side = split.side(name) * PATCH
    folder = cache / f"{common}-{side}"
    patients = [cohort[position] for position in split.part(name)]
    return [_Drawing(patient, folder / f"{patient.identifier}.npz", side) for patient in patients]


def _plan_galleries(cohort: Sequence[Patient], split: Split, cache: Path, common: str) -> list[_Drawing]:
    """Other regions of each test patient, as `Split` says."""
    side, drawings = split.gallery_pixels, []
    folder = cache / f"{common}-{side}-{GALLERY_STRIDE}"
    for number, position in enumerate(split.part("test")):
        panel = GALLERY_PANELS[number % len(GALLERY_PANELS)]
        for region in range(split.gallery_regions):
            section = f"{cohort[position].section}-R{region + 1}"
            patient = replace(cohort[position], section=section, panel=panel)
            file = folder / f"{section}-{PANELS.index(panel)}.npz"
            drawings.append(_Drawing(patient, file, side, region, GALLERY_STRIDE))
    return drawings


def _render_all(work: Sequence[_Drawing], processes: int) -> None:
    """Render in `processes` fresh processes (spawned: a fork of a process with threads may hang)."""
    if len(work) <= 2 or processes == 1:
        for drawing in work:
            _render(drawing)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for _ in pool.map(_render, work, chunksize=1):
            pass


def _render(drawing: _Drawing) -> None:
    """Render one section to a file that appears whole or not at all."""
    import cv2

    cv2.setNumThreads(1)
    cut = _cut(drawing)
    keep = cut.tissue_share >= LEAST_TISSUE
    if not keep.any():
        keep[:] = True

    def known(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(cut.measured, values[keep], np.nan).astype(np.float32)

    drawing.file.parent.mkdir(parents=True, exist_ok=True)
    part = drawing.file.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as stream:
        np.savez(
            stream,
            he=cut.he[keep],
            mif=cut.mif[keep],
            expression=known(cut.expression),
            expected=known(cut.expected),
            expected_without_facts=known(cut.expected_without_facts),
            origins=cut.origins[keep],
        )
    part.replace(drawing.file)


def _cut(drawing: _Drawing) -> Patches:
    """Render a section and cut it."""
    region = render_region(drawing.patient, drawing.side, drawing.side, seed=drawing.region)
    return patches(region) if drawing.stride == PATCH else overlapping_patches(region, PATCH, drawing.stride)
