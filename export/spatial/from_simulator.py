"""Simulated patients as datasets of spots, so that bundle, training and tests take the road of real data."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.inference import Progress, Silent

from ..cohort import Split, simulator_digest
from ..synthetic import MPP, Patient, simulate_cohort
from ..synthetic import spots as simulated
from ..synthetic.spots import DENSE_PITCH_PX, GENES, Spots, render_spots
from .dataset import ABOUT_FILE, SpotDataset, open_spots, write_spots
from .types import SpotSection

PARTS: Final = ("train", "atlas", "calibration", "test")

SelectedSpots = tuple[SpotSection, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class SpotSplit:
    """How many patients each part has, and how their spots are drawn. No patient is in two parts.

    The parts follow each other in the cohort, and begin after every patient of `Split`: an H&E tower that was trained
    on those has seen none of these, and a bundle of both families holds out both test sets.

    Attributes:
        train: Patients that the experts learn from.
        atlas: Patients of the atlas.
        calibration: Patients of the calibration cases.
        test: Patients held out for the evaluation.
        regions: Regions of each patient; each is a section of its own.
        side: Side of a region in pixels.
        size: Side of a patch in pixels; 256 is what the embedded H&E tower takes.
        pitch: Pixels from spot to spot.
        first: Position in the cohort of the first patient.
    """

    train: int = 240
    atlas: int = 60
    calibration: int = 40
    test: int = 40
    regions: int = 2
    side: int = 1024
    size: int = 256
    pitch: float = DENSE_PITCH_PX
    first: int = Split().patients

    @property
    def patients(self) -> int:
        """Length of a cohort that holds all parts."""
        return self.part(PARTS[-1]).stop

    def part(self, name: str) -> range:
        """Positions in the cohort of one part: train, atlas, calibration or test."""
        counts: list[int] = [getattr(self, part) for part in PARTS]
        place = PARTS.index(name)
        first = self.first + sum(counts[:place])
        return range(first, first + counts[place])


QUICK_SPOT_SPLIT: Final = SpotSplit(train=8, atlas=4, calibration=4, test=4, regions=1, side=640)
"""A split that runs in seconds: the road end to end, without quality."""


@dataclass(frozen=True, slots=True)
class SpotTruth:
    """What could be known of the n spots of a section, in the order of the dataset; log1p(counts / library * 10 000).

    Attributes:
        genes: Names of the columns.
        expected: (n, g) float32, given the visible cells in and around the spot and the clinical facts.
        expected_without_facts: (n, g) float32, given the visible cells alone.
        patch_expected: (n, g) float32, the same for a spot made of all cells of its patch.
        patch_expected_without_facts: (n, g) float32.
    """

    genes: tuple[str, ...]
    expected: NDArray[np.float32]
    expected_without_facts: NDArray[np.float32]
    patch_expected: NDArray[np.float32]
    patch_expected_without_facts: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpotPart:
    """One part of the split on disk.

    Attributes:
        dataset: Its spots.
        truth: Folder of one npz file a section.
    """

    dataset: SpotDataset
    truth: Path

    def read_truth(self, section: str) -> SpotTruth:
        """What could be known of one section's spots."""
        with np.load(self.truth / f"{section}.npz", allow_pickle=False) as stored:
            arrays = {field.name: stored[field.name] for field in fields(SpotTruth) if field.name != "genes"}
        return SpotTruth(genes=GENES, **arrays)


def simulate_spots(
    name: str,
    split: SpotSplit,
    seed: int,
    cache: Path,
    *,
    processes: int = 2,
    progress: Progress | None = None,
) -> SpotPart:
    """Draw the spots of one part, or find them in the cache.

    Args:
        name: train, atlas, calibration or test.
        split: The split.
        seed: Seed of the cohort: that of the H&E tower's, so that its patients are known to be others.
        cache: Folder for datasets and truth; grows by about 50 kB a spot.
        processes: Regions drawn at the same time; does not change them.
        progress: Told about every spot.
    """
    folder = cache / f"{_digest(name, split, seed)}-{name}"
    part_folder, truth = folder / "spots", folder / "truth"
    if not (part_folder / ABOUT_FILE).exists():
        truth.mkdir(parents=True, exist_ok=True)
        told = progress or Silent()
        told.start(f"Drawing the spots of {name}")
        sections = _sections(_plan(name, split, seed), truth, processes)
        made = {"by": "the tissue simulator", "statement": "Synthetic: simulated tissue of simulated patients."}
        write_spots(
            part_folder,
            sections,
            name=f"simulated {name}",
            genes=GENES,
            size=split.size,
            mpp=MPP,
            synthetic=True,
            selection=made,
            progress=told,
        )
        told.finish()
    return SpotPart(open_spots(part_folder), truth)


def spot_section(patient: Patient, spots: Spots, section: str) -> SpotSection:
    """The spots of one rendered region as a section; its patches lie in `spots.patches`."""
    names = [f"{x:.0f}x{y:.0f}" for x, y in spots.centres.tolist()]
    return SpotSection(
        section=section,
        patient=patient.identifier,
        organ=patient.organ,
        genes=GENES,
        spots=np.array(names, dtype=np.str_),
        x=spots.centres[:, 0],
        y=spots.centres[:, 1],
        counts=csr_matrix(spots.counts.astype(np.float32)),
        image=None,
        mpp=MPP,
        facts=patient.facts,
    )


@dataclass(frozen=True, slots=True)
class _Drawing:
    """One region to be drawn: whose, which, and as the split says."""

    patient: Patient
    region: int
    split: SpotSplit

    @property
    def section(self) -> str:
        """Its name."""
        return f"{self.patient.section}-R{self.region + 1}"


def _plan(name: str, split: SpotSplit, seed: int) -> list[_Drawing]:
    """Every region of every patient of a part."""
    cohort = simulate_cohort(split.patients, seed)
    return [_Drawing(cohort[place], region, split) for place in split.part(name) for region in range(split.regions)]


def _sections(drawings: Sequence[_Drawing], truth: Path, processes: int) -> Iterator[SelectedSpots]:
    """Each section that has spots with its patches; what could be known of it goes to a file."""
    for drawing, spots in zip(drawings, _draw_all(drawings, processes), strict=True):
        if len(spots.counts):
            _write_truth(truth / f"{drawing.section}.npz", spots)
            yield spot_section(drawing.patient, spots, drawing.section), spots.patches


def _draw_all(drawings: Sequence[_Drawing], processes: int) -> Iterator[Spots]:
    """Draw in `processes` fresh processes, a few regions ahead of the one that is asked for, in order."""
    if processes == 1:
        yield from map(_draw, drawings)
        return
    waiting = iter(drawings)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        ahead: deque[Future[Spots]] = deque(pool.submit(_draw, one) for one in islice(waiting, 2 * processes))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(_draw, one) for one in islice(waiting, 1))


def _draw(drawing: _Drawing) -> Spots:
    """Draw one region's spots on one thread."""
    import cv2

    cv2.setNumThreads(1)
    split = drawing.split
    return render_spots(drawing.patient, split.side, region=drawing.region, size=split.size, pitch=split.pitch)


def _write_truth(file: Path, spots: Spots) -> None:
    """Write a section's truth to a file that appears whole or not at all."""
    part = file.with_suffix(f".{os.getpid()}.part")
    arrays = {field.name: getattr(spots, field.name) for field in fields(SpotTruth) if field.name != "genes"}
    with part.open("wb") as stream:
        np.savez(stream, **arrays)
    part.replace(file)


def _digest(name: str, split: SpotSplit, seed: int) -> str:
    """What a part depends on: the simulator's sources, the split and the seed."""
    digest = hashlib.sha256(f"{simulator_digest()} {name} {sorted(asdict(split).items())} {seed}".encode())
    for file in sorted(Path(next(iter(simulated.__path__))).glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
