"""From registered H&E/mIF region pairs to an atlas folder: mask, clip, resample, cut, measure, caption."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import as_output_errors, check_writable, exists_error, replace_folder
from haiku_edge.runtime.errors import MissingResolutionError, OutputExistsError, PanelError, UnreadableDatasetError
from haiku_edge.runtime.inference import Progress, Silent

from ..dataset import PUBLISHED_MPP, SIDE, PatchSample, refuse_person_names, write_dataset
from ..dataset._panel import Panel, read_panel
from ..dataset.folder import ABOUT_FILE
from ..vocabulary import PUBLISHED_MARKERS, nearest_names, write_caption
from .clip import clip_channel
from .patch_grid import LEAST_TISSUE, STRIDE, patch_corners, patch_name
from .patch_statistics import NAMED, against_the_rest, bright_means, outstanding, spatial_pattern
from .region_images import MAX_SIDE, Multichannel, channel_names, open_multichannel, read_he
from .region_table import RegionPair, read_regions
from .tissue_mask import tissue_mask

NUCLEI = "DAPI"
SIZE_TOLERANCE = 0.005
SIZE_TOLERANCE_PX = 4
"""H&E and mIF may differ by this share of a side, or by so many pixels of a patch: cropping rounds, and no more."""

SAME_SCALE = 0.005
"""A resolution this close to the wanted one is taken as it is, without resampling."""

DOUBTFUL_CORRELATION = 0.1
"""Registered H&E is darker where DAPI is brighter; below this correlation a reader should look at the pair."""

_CORRELATION_UM = 8.0


@dataclass(frozen=True, slots=True)
class RegionSettings:
    """How regions are cut.

    Attributes:
        mpp: Micrometres per pixel of the patches.
        mpp_mif: Resolution of mIF images that state none, and for which regions.csv has none.
        mpp_he: The same for H&E images.
        least_tissue: Least share of tissue of a patch.
        seed: Draws where each region's grid begins, together with the region's name.
        force: Replace an older atlas folder.
    """

    mpp: float = PUBLISHED_MPP
    mpp_mif: float | None = None
    mpp_he: float | None = None
    least_tissue: float = LEAST_TISSUE
    seed: int = 0
    force: bool = False


@dataclass
class BuildReport:
    """What became of the regions.

    Attributes:
        patches: Patches written.
        regions: Region → number of patches.
        skipped: Region → why it gave none.
        registration: Region → correlation of the H&E's darkness with DAPI.
    """

    patches: int = 0
    regions: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    registration: dict[str, float] = field(default_factory=dict)


def build_from_regions(
    folder: Path, out: Path, settings: RegionSettings | None = None, *, progress: Progress | None = None
) -> BuildReport:
    """Cut all regions of a folder into patches of an atlas folder. One region is held at a time.

    Source of the steps: Haiku, 2605.00925, published code (reference 1.9 and 1.10). Ours are the tissue mask, the
    resampling, and what `clip` and `patch_grid` say of floating-point images and small fields.

    Args:
        folder: Has `regions.csv`.
        out: The atlas folder.
        settings: How regions are cut.
        progress: Told about every region.

    Raises:
        UnreadableDatasetError, PanelError, MissingResolutionError: The input can't be used; nothing is written.
        CohortError: No region gave a patch, or a patient is called by a person's name.
        OutputExistsError: Something is in that place that is no atlas folder, or is one and `force` is off.
        OutputError: See `write_dataset`.
    """
    chosen, told = settings or RegionSettings(), progress or Silent()
    _check_place(out, force=chosen.force)
    pairs = read_regions(folder)
    refuse_person_names((pair.patient for pair in pairs), folder.name)
    panels = {pair.region: _panel(pair) for pair in pairs}
    markers = tuple(dict.fromkeys(marker for panel in panels.values() for marker in panel.markers))
    if remark := _unknown_names(markers):
        told.say(remark)
    report = BuildReport()
    told.start("Cutting regions", len(pairs))

    def samples() -> Iterator[PatchSample]:
        for pair in pairs:
            yield from _cut_region(pair, panels[pair.region], chosen, report, told, out.parent)
            told.advance(1)

    notes: dict[str, Any] = {"skipped": report.skipped, "registration": report.registration}
    with _replaced(out) as place:
        report.patches = write_dataset(
            place,
            samples(),
            name=out.name,
            markers=markers,
            mpp=chosen.mpp,
            made={"by": "atlas build", "stride_px": STRIDE, "least_tissue": chosen.least_tissue, "seed": chosen.seed},
            roles={pair.patient: pair.role for pair in pairs if pair.role},
            with_he=any(pair.he for pair in pairs),
            notes=notes,
        )
    told.finish()
    return report


def _check_place(out: Path, *, force: bool) -> None:
    """Refuse a place that holds anything but an older atlas folder that may go."""
    if out.is_symlink() or (out.exists() and not (out / ABOUT_FILE).is_file()):
        raise OutputExistsError(f"{out} is there already and is no atlas folder. Name a new folder with --out.")
    if out.exists() and not force:
        raise exists_error(out)
    check_writable(out.parent)


@contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """Where to write the folder: its place, or beside an older one that it replaces once the block ends well."""
    if not out.exists():
        yield out
        return
    with as_output_errors(out), tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        place = Path(beside) / "new"
        yield place
        replace_folder(place, out)


def _panel(pair: RegionPair) -> Panel:
    image = open_multichannel(pair.mif)
    panel = read_panel(channel_names(image, pair.channels, pair.region), f"The region {pair.region}")
    if NUCLEI not in panel.markers:
        alike = nearest_names(NUCLEI, panel.markers)
        raise PanelError(
            f"The region {pair.region} has no {NUCLEI} channel, which shows where tissue lies. Its channels are "
            f"{', '.join(panel.markers)}; name the nuclear one {NUCLEI} in the column channels of regions.csv"
            f"{f' ({alike[0]} looks like it)' if alike else ''}."
        )
    return panel


def _unknown_names(markers: tuple[str, ...]) -> str | None:
    """What to say of names that the vocabulary lacks: a laboratory's own markers, or misspelt ones."""
    unknown = [marker for marker in markers if marker not in PUBLISHED_MARKERS]
    if not unknown:
        return None
    named = (f"{name} (nearest known: {', '.join(nearest_names(name)) or 'none'})" for name in unknown)
    return (
        f"Channels that are no published marker are kept as they are named: {'; '.join(named)}. A tower without them "
        "refuses them later; if one is misspelt, correct the column channels of regions.csv and build again."
    )


def _cut_region(
    pair: RegionPair, panel: Panel, settings: RegionSettings, report: BuildReport, progress: Progress, scratch: Path
) -> Iterator[PatchSample]:
    image = open_multichannel(pair.mif)
    mpp = pair.mpp_mif or image.mpp or settings.mpp_mif
    if mpp is None:
        raise _no_resolution(pair, "mIF", "--mpp-mif", "mpp_mif")
    scale = mpp / settings.mpp
    scale = 1.0 if abs(scale - 1) < SAME_SCALE else scale
    width, height = round(image.width * scale), round(image.height * scale)
    if max(width, height, image.width, image.height) > MAX_SIDE:
        report.skipped[pair.region] = f"a side is longer than {MAX_SIDE:,} pixels"
        progress.say(f"{pair.region}: passed over, {report.skipped[pair.region]}")
        return
    with tempfile.TemporaryFile(dir=scratch) as file:
        # Room is taken before it is written to: a full disk under a memory map would end the process.
        os.posix_fallocate(file.fileno(), 0, len(panel.markers) * height * width)
        stack = np.memmap(file, np.uint8, "r+", shape=(len(panel.markers), height, width))
        tissue = _fill(stack, image, panel, mpp)
        he = _registered_he(pair, settings, (image.width * mpp, image.height * mpp), (width, height))
        if he is not None:
            _note_registration(pair.region, he, stack[panel.markers.index(NUCLEI)], settings.mpp, report, progress)
        rng = np.random.default_rng((settings.seed, zlib.crc32(pair.region.encode())))
        corners = patch_corners(tissue, rng, settings.least_tissue)
        if not len(corners):
            report.skipped[pair.region] = f"no place of {SIDE} px with {settings.least_tissue:.0%} tissue"
            progress.say(f"{pair.region}: {report.skipped[pair.region]} ({width} × {height} px)")
        report.regions[pair.region] = len(corners)
        yield from _samples(pair, panel, stack, he, corners, settings.mpp)
        del stack


def _fill(stack: NDArray[np.uint8], image: Multichannel, panel: Panel, mpp: float) -> NDArray[np.bool_]:
    """Clip and resample channel by channel into `stack`; the tissue mask at its resolution."""
    height, width = stack.shape[1:]
    tissue = tissue_mask(image.read(int(panel.rows[panel.markers.index(NUCLEI)])), mpp)
    for place, row in enumerate(panel.rows):
        stack[place] = _resized(clip_channel(image.read(int(row)), tissue), width, height)
    small = cv2.resize(tissue.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(small > 0)


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (height, width):
        return image
    shrinking = width < image.shape[1]
    kind = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)


def _registered_he(
    pair: RegionPair, settings: RegionSettings, mif_um: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """The H&E image at the patches' resolution, once it is found to show a rectangle of the mIF's size."""
    if pair.he is None:
        return None
    he, stated = read_he(pair.he)
    mpp = pair.mpp_he or stated or settings.mpp_he
    if mpp is None:
        raise _no_resolution(pair, "H&E", "--mpp-he", "mpp_he")
    he_um = (he.shape[1] * mpp, he.shape[0] * mpp)
    for own, other in zip(he_um, mif_um, strict=True):
        if abs(own - other) > max(SIZE_TOLERANCE * other, SIZE_TOLERANCE_PX * settings.mpp):
            raise UnreadableDatasetError(
                f"The images of the region {pair.region} are not registered: the H&E is {he_um[0]:.0f} × "
                f"{he_um[1]:.0f} µm, the mIF {mif_um[0]:.0f} × {mif_um[1]:.0f} µm. Register and crop them to the same "
                "rectangle first, or correct mpp_he and mpp_mif in regions.csv."
            )
    return _resized(he, *size)


def _note_registration(
    region: str, he: NDArray[np.uint8], dapi: NDArray[np.uint8], mpp: float, report: BuildReport, progress: Progress
) -> None:
    """Correlate the H&E's red absorption, which is mostly haematoxylin's, with DAPI."""
    size = (max(2, round(dapi.shape[1] * mpp / _CORRELATION_UM)), max(2, round(dapi.shape[0] * mpp / _CORRELATION_UM)))
    red = cv2.resize(he[:, :, 0], size, interpolation=cv2.INTER_AREA).astype(np.float64)
    nuclei = cv2.resize(np.asarray(dapi), size, interpolation=cv2.INTER_AREA).astype(np.float64)
    if not red.std() or not nuclei.std():
        return
    correlation = float(np.corrcoef(-np.log((red + 1) / 256).ravel(), nuclei.ravel())[0, 1])
    report.registration[region] = round(correlation, 3)
    if correlation < DOUBTFUL_CORRELATION:
        progress.say(
            f"{region}: H&E and {NUCLEI} hardly agree (correlation {correlation:.2f}). Look if they are registered."
        )


def _samples(
    pair: RegionPair,
    panel: Panel,
    stack: NDArray[np.uint8],
    he: NDArray[np.uint8] | None,
    corners: NDArray[np.int32],
    mpp: float,
) -> Iterator[PatchSample]:
    """The patches of a region; all are measured before the first is described."""

    def cut(image: NDArray[np.uint8], x: int, y: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(image[..., y : y + SIDE, x : x + SIDE])

    if not len(corners):
        return
    z, _ = against_the_rest(np.stack([bright_means(cut(stack, x, y)) for x, y in corners.tolist()]))
    for (x, y), scores in zip(corners.tolist(), z, strict=True):
        mif = cut(stack, x, y)
        yield PatchSample(
            patch=patch_name(pair.region, x, y),
            region=pair.region,
            patient=pair.patient,
            he=None if he is None else np.ascontiguousarray(he[y : y + SIDE, x : x + SIDE]),
            mif=mif,
            markers=panel.markers,
            caption=describe_patch(mif, panel.markers, scores, pair.facts),
            facts=pair.facts,
            x=x * mpp,
            y=y * mpp,
        )


def describe_patch(
    mif: NDArray[np.uint8],
    markers: tuple[str, ...],
    z: NDArray[np.float32],
    facts: Mapping[str, str],
    named: int = NAMED,
) -> str | None:
    """The full caption of a patch, steps A and B; None where no marker stands out.

    Args:
        mif: (c, 256, 256) uint8.
        markers: Names of the channels.
        z: (c,) float32 against the other patches of the region.
        facts: Clinical facts.
        named: Markers named as enriched, and as depleted, at most.
    """
    high, low = ([(markers[i], spatial_pattern(mif[i])) for i in rows] for rows in outstanding(z, named))
    return write_caption(facts, high, low) or None


def _no_resolution(pair: RegionPair, kind: str, option: str, column: str) -> MissingResolutionError:
    return MissingResolutionError(
        f"The {kind} image of the region {pair.region} does not state its resolution (micrometres per pixel). If you "
        f"know it, pass {option} or fill the column {column} of regions.csv; a 20x scan is usually near 0.5."
    )
