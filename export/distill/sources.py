"""Where unlabelled tiles come from: slides, or the H&E of a dataset; grouped so that no patient is parted."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import HETower
from haiku_edge.runtime.errors import CohortError, NoTissueError, PatchShapeError, UnreadableDatasetError
from haiku_edge.runtime.inference.survey import survey_slide
from haiku_edge.runtime.slide import TilePlan, TileStream, open_slide, slide_digest

from ..dataset import FolderDataset, PatchDataset
from ..embedding import MPP_TOLERANCE
from ..training.patients import TRAINING_ROLES

_BATCH = 32
_READ = 4
"""Threads that decode a slide."""

Images = NDArray[np.uint8]
Expression = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Group:
    """Tiles of one slide, or patches of one region.

    Attributes:
        patient: Whose; a pseudonym, or the slide's own name where nobody says.
        slide: The slide or region.
        key: Digest of all that decides the tiles.
        read: Gives the tiles, (n, s, s, 3) uint8.
        measured: Gives the mean intensities that were measured on the very tiles, (n, m) float32 in the order of the
            atlas's markers, NaN where not measured; None where nothing was.
    """

    patient: str
    slide: str
    key: str
    read: Callable[[], Images]
    measured: Callable[[], Expression] | None = None


def slide_groups(folder: Path, tower: HETower, most: int, say: Callable[[str], None]) -> tuple[Group, ...]:
    """The slides of a folder: each file is a patient's, and a sub-folder holds all slides of one patient.

    A sub-folder with DICOM files is one slide.

    Args:
        folder: The slides.
        tower: Whose tiles are cut.
        most: Tiles of a slide, evenly spread over its tissue.
        say: Told of a slide that is passed over.

    Raises:
        UnreadableDatasetError: There is no such folder.
        SlideError: A slide can't be used. One without tissue is passed over.
    """
    if not folder.is_dir():
        raise UnreadableDatasetError(f"{folder.name} is no folder of slides. Give the folder that holds them.")
    found = []
    for patient, path in _slides(folder):
        with contextlib.closing(open_slide(path)) as slide:
            try:
                plan = thin(survey_slide(slide, size=tower.tile_size, mpp=tower.mpp).plan, most)
            except NoTissueError as error:
                say(f"{path.name} is passed over: {error}")
                continue
            key = _digest("slide", slide_digest(slide.info), tower.tile_size, tower.mpp, most)
        found.append(Group(patient, path.name, key, _SlideTiles(path, plan)))
    return tuple(found)


def dataset_groups(
    dataset: PatchDataset, tower: HETower, most: int, markers: tuple[str, ...] = (), *, roles: bool = True
) -> tuple[Group, ...]:
    """The regions of a dataset that have H&E.

    Args:
        dataset: The patches.
        tower: Whose tiles they must be.
        most: Tiles of a region, evenly spread over its patches.
        markers: The atlas's: what is measured of the tiles.
        roles: Leave out patients who are kept for calibration or test.

    Raises:
        PatchShapeError: The patches have another size or resolution than the tower takes.
    """
    check_tiles(dataset, tower)
    wanted = np.ones(len(dataset), np.bool_)
    if roles and isinstance(dataset, FolderDataset):
        wanted = np.isin(dataset.measurements.roles, TRAINING_ROLES)
    groups = []
    for region in dict.fromkeys(dataset.regions[wanted].tolist()):
        rows = np.flatnonzero(wanted & (dataset.regions == region))
        rows = rows[evenly(len(rows), most)]
        if dataset[int(rows[0])].he is None:
            continue
        key = _digest("patches", dataset.name, *dataset.patches[rows].tolist(), dataset.mpp)
        tiles = _Patches(dataset, rows, markers)
        measured = tiles.measured if markers and dataset.markers else None
        groups.append(Group(str(dataset.patients[rows[0]]), str(region), key, tiles, measured))
    return tuple(groups)


def check_tiles(dataset: PatchDataset, tower: HETower) -> None:
    """See that the patches of a dataset are tiles as the tower takes them.

    Raises:
        PatchShapeError: They are not.
    """
    if dataset.mpp is not None and abs(dataset.mpp / tower.mpp - 1) > MPP_TOLERANCE:
        raise PatchShapeError(
            f"The patches of {dataset.name} have {dataset.mpp:g} µm per pixel, the bundle's H&E tower takes "
            f"{tower.mpp:g}. Cut the regions again with `haiku-edge atlas build --mpp {tower.mpp:g}`."
        )


def split_groups(groups: tuple[Group, ...], held_out: frozenset[str]) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """The groups of the patients to learn from, and those of the patients held out."""
    learned = tuple(group for group in groups if group.patient not in held_out)
    return learned, tuple(group for group in groups if group.patient in held_out)


def draw_held_out(groups: tuple[Group, ...], share: float, seed: int) -> frozenset[str]:
    """Draw the patients that the student is measured on, and does not learn from.

    Raises:
        UnreadableDatasetError: There are no tiles.
        CohortError: All are of one patient.
    """
    patients = sorted({group.patient for group in groups})
    if not patients:
        raise UnreadableDatasetError(
            "No H&E tile to learn from was found. Name a folder of slides with tissue, or a dataset whose patches have "
            "H&E and patients who are not kept for calibration or test."
        )
    if len(patients) < 2:
        raise CohortError(
            "All tiles are of one slide or patient, so none is left to measure the student on. Add slides of another "
            "patient; a sub-folder of --slides holds the slides of one."
        )
    order = np.random.default_rng(np.random.SeedSequence((seed, 3))).permutation(len(patients))
    return frozenset(patients[i] for i in order[: max(1, round(share * len(patients)))])


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` rows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def thin(plan: TilePlan, most: int) -> TilePlan:
    """The plan with at most `most` of its tiles."""
    rows, grid = evenly(len(plan.grid), most), plan.grid
    kept = replace(
        grid, columns=grid.columns[rows], rows=grid.rows[rows], origins=grid.origins[rows], tissue=grid.tissue[rows]
    )
    return replace(plan, grid=kept)


def _slides(folder: Path) -> Iterator[tuple[str, Path]]:
    """Patient and path of each slide."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file() or any(path.glob("*.dcm")):
            yield path.stem, path
        else:
            yield from ((path.name, own) for own in sorted(path.iterdir()) if not own.name.startswith("."))


@dataclass(frozen=True, slots=True)
class _SlideTiles:
    """Reads the tiles of a slide's plan; those that can't be read are left out."""

    path: Path
    plan: TilePlan

    def __call__(self) -> Images:
        with (
            contextlib.closing(open_slide(self.path)) as slide,
            TileStream(slide, self.plan, batch_size=_BATCH, threads=_READ) as stream,
        ):
            return np.concatenate([self._readable(batch.tiles, batch.first, batch.unreadable) for batch in stream])

    @staticmethod
    def _readable(tiles: Images, first: int, unreadable: dict[int, str]) -> Images:
        return tiles[[row for row in range(len(tiles)) if first + row not in unreadable]].copy()


@dataclass(frozen=True, slots=True)
class _Patches:
    """Reads the H&E, and what was measured beside it, of some rows of a dataset."""

    dataset: PatchDataset
    rows: NDArray[np.int64]
    markers: tuple[str, ...]

    def __call__(self) -> Images:
        found = [self.dataset[int(row)] for row in self.rows]
        lacking = [sample.patch for sample in found if sample.he is None]
        if lacking:
            raise PatchShapeError(
                f"{len(lacking)} patches of a region of {self.dataset.name} have no H&E, but others have. Give all of "
                "them H&E, or leave them out."
            )
        return np.stack([sample.he for sample in found if sample.he is not None])

    def measured(self) -> Expression:
        means = np.full((len(self.rows), len(self.markers)), np.nan, np.float32)
        for place, row in enumerate(self.rows):
            sample = self.dataset[int(row)]
            for marker, channel in zip(sample.markers, () if sample.mif is None else sample.mif, strict=True):
                if marker in self.markers:
                    means[place, self.markers.index(marker)] = channel.mean(dtype=np.float64)
        return means


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]
