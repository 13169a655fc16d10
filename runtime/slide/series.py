"""From a heap of DICOM instances to the levels of one slide, or a refusal that says what is wrong with the heap."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from ..errors import AmbiguousSlideError, CorruptSlideError, IncompleteSlideError, NotASlideError, NoVolumeImageError
from .folder import dicom_files
from .frames import frame_extents
from .instances import SLIDE_CLASS, Instance, read_instance, read_instances
from .names import shown
from .resolution import WIDEST_ASPECT

_ASIDE = ("LABEL", "OVERVIEW", "LOCALIZER", "THUMBNAIL")
"""Kinds of image that are never read: they may show the patient's name, or repeat the tissue."""

_MICRONS_TIMES_POWER = 10.0
"""Scanners give about 10 µm per pixel divided by the objective's magnification: 0.25 at 40x, 0.5 at 20x."""

_COARSER_THAN_OBJECTIVE = 1.6
"""The next level of a pyramid is at least twice as coarse as its base, and bases differ from the rule by a fifth (0.2
to 0.28 at 40x): a finest image this much coarser than the rule is no base."""

_SAME_SPACING = 1.01
"""Ratio up to which two stated spacings are the same: a thumbnail repeats its source's to the rounding of a number."""

_MAX_SIDE = 1 << 24
"""Pixels. Beyond any slide (a whole slide at 0.05 µm/px is 1.5 million across); guards against absurd headers."""


@dataclass(frozen=True, slots=True)
class Image:
    """One level of a DICOM slide: an instance, or the parts of a concatenation in order.

    Attributes:
        parts: The instances.
        extents: Of each part, where its frames lie; see `frame_extents`.
    """

    parts: tuple[Instance, ...]
    extents: tuple[NDArray[np.int64], ...]

    @property
    def head(self) -> Instance:
        """The first part, which speaks for all in all but the frames."""
        return self.parts[0]

    @property
    def frames(self) -> int:
        """Number of frames in all parts."""
        return sum(part.frames for part in self.parts)


def series_in_folder(folder: Path, name: str) -> tuple[Instance, ...]:
    """The tissue instances of the one series in a folder and its sub-folders.

    Args:
        folder: Where to look.
        name: What messages call it.

    Raises:
        NotASlideError: There is no DICOM, or none of the whole-slide kind, or something that can't be read.
        SlideError: As `series_of_files`.
    """
    found = dicom_files(folder, name)
    if not found:
        raise NotASlideError(f"{name} holds no DICOM file. Give a slide file, or the folder of a DICOM slide.")
    return series_of_files({path: shown(path) for path in found}, name)


def series_of_files(files: Mapping[Path, str], name: str) -> tuple[Instance, ...]:
    """The tissue instances of the one series that DICOM files hold.

    Args:
        files: The files, and what messages call each.
        name: What messages call all of them.

    Raises:
        NotASlideError: None is of the whole-slide kind.
        NoVolumeImageError: There are only labels, overviews or thumbnails.
        AmbiguousSlideError: There is more than one series.
        IncompleteSlideError: The full-resolution instance is missing.
        CorruptSlideError: A header can't be read.
    """
    return _one_series(read_instances(files), name)


def series_of_file(path: Path) -> tuple[Instance, ...]:
    """The tissue instances of one file's series, from that file's folder.

    Raises:
        NotASlideError: The file is DICOM of another kind than whole-slide images, or its folder can't be read.
        NoVolumeImageError: There are only labels, overviews or thumbnails.
        IncompleteSlideError: The full-resolution instance is missing.
        CorruptSlideError: The file's header can't be read, or that of another in its folder that may belong to it.
    """
    name = shown(path)
    given = read_instance(path, name)
    if given.sop_class != SLIDE_CLASS:
        raise _another_kind((given,), name)
    beside = {other: shown(other) for other in dicom_files(path.parent, name, deep=False) if other != path}
    return _one_series((given, *(one for one in read_instances(beside) if one.series == given.series)), name)


def images(instances: Sequence[Instance], name: str) -> tuple[Image, ...]:
    """The levels that tissue instances of one series make up, finest first, each complete.

    Raises:
        NotASlideError: The pixels are not 8-bit colour.
        CorruptSlideError: A file is cut short, or a header is absurd.
        IncompleteSlideError: A part of a concatenation, or frames, are missing.
        AmbiguousSlideError: Two images claim to be the same level.
    """
    for instance in instances:
        _check_pixels(instance, name)
    concatenated: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        concatenated[instance.part.image if instance.part else instance.uid].append(instance)
    found = [_joined(parts, name) for parts in concatenated.values()]
    found.sort(key=lambda image: (image.head.width, image.head.height), reverse=True)
    sizes = {(image.head.width, image.head.height) for image in found}
    if len(sizes) != len(found):
        raise AmbiguousSlideError(
            f"{name} holds more than one tissue image of the same size in one series (focal planes, or two scans). "
            "Give a folder with one of them."
        )
    return tuple(found)


def check_base(found: Sequence[Image], name: str, override: float | None = None) -> None:
    """Refuse a series whose finest image says that it was made from a finer one, or is too coarse for its objective.

    Args:
        found: The levels, finest first.
        name: What messages call the slide.
        override: The user's µm/px for the finest level, or None. Where it agrees with what the image itself states, the
            user knows that the scanner was coarser than its objective, and scales are right in any case.

    Raises:
        IncompleteSlideError: The full-resolution instance is missing.
    """
    finest = found[0].head
    if finest.resampled:
        raise _without_base(name, "its finest image says that it was resampled from a finer one")
    power = max((image.head.power for image in found if image.head.power is not None), default=None)
    if power is None or finest.spacing is None:
        return
    spacing, expected = sum(finest.spacing) / 2, _MICRONS_TIMES_POWER / power
    confirmed = override is not None and 1 / WIDEST_ASPECT <= override / spacing <= WIDEST_ASPECT
    if spacing > _COARSER_THAN_OBJECTIVE * expected and not confirmed:
        raise _without_base(
            name,
            f"it was scanned at {power:g}x, which gives about {expected:.2g} µm per pixel, and its finest image has "
            f"{spacing:.3g}",
        )


def _check_thumbnails(finest: Instance, slides: Sequence[Instance], name: str) -> None:
    """Refuse a series with a thumbnail, which is made from the tissue image, that is finer than what is there of it."""
    for thumbnail in slides:
        if thumbnail.kind != "THUMBNAIL" or thumbnail.series != finest.series:
            continue
        if thumbnail.spacing and finest.spacing and sum(thumbnail.spacing) < sum(finest.spacing) / _SAME_SPACING:
            raise _without_base(name, "its thumbnail is finer than its finest tissue image")


def _without_base(name: str, why: str) -> IncompleteSlideError:
    return IncompleteSlideError(
        f"The full-resolution instance of {name} is missing: {why}. Export all instances of the series."
    )


def _one_series(found: Sequence[Instance], name: str) -> tuple[Instance, ...]:
    slides = [instance for instance in found if instance.sop_class == SLIDE_CLASS]
    if not slides:
        raise _another_kind(found, name)
    tissue = {instance.uid: instance for instance in reversed(slides) if instance.kind == "VOLUME"}
    if not tissue:
        kinds = ", ".join(
            sorted({instance.kind.lower() if instance.kind in _ASIDE else "unnamed" for instance in slides})
        )
        raise NoVolumeImageError(
            f"{name} holds no tissue image, only other kinds ({kinds}). Give the instances of ImageType VOLUME too."
        )
    series = {instance.series for instance in tissue.values()}
    if len(series) > 1:
        raise AmbiguousSlideError(
            f"{name} holds {len(series)} DICOM series, so it is not one slide. "
            "Give a folder with one series, or one file of the series that you mean."
        )
    _check_thumbnails(max(tissue.values(), key=lambda instance: instance.width), slides, name)
    return tuple(sorted(tissue.values(), key=lambda instance: str(instance.path)))


def _another_kind(found: Sequence[Instance], name: str) -> NotASlideError:
    kinds = ", ".join(sorted({UID(instance.sop_class).name for instance in found if UID(instance.sop_class).is_valid}))
    return NotASlideError(
        f"{name} holds DICOM, but no whole-slide image ({kinds or 'unknown kind'}). Give the slide's own instances."
    )


def _check_pixels(instance: Instance, name: str) -> None:
    sides = (instance.width, instance.height, instance.tile_width, instance.tile_height)
    if not all(0 < side < _MAX_SIDE for side in sides) or min(instance.frames, instance.samples, instance.bits) < 1:
        raise CorruptSlideError(
            f"The DICOM header of {instance.name} is cut short or states an impossible size. Export it again."
        )
    if instance.samples != 3 or instance.bits != 8:
        raise NotASlideError(
            f"{name} holds {instance.samples} sample(s) of {instance.bits} bits a pixel; a brightfield slide has "
            "three of 8. Fluorescence and other grey images can't be read."
        )


def _joined(parts: Sequence[Instance], name: str) -> Image:
    """The parts of one image in order; a lone instance is its own."""
    places = {one.part.number: one for one in parts if one.part is not None}
    if not places:
        return _complete((parts[0],), name)
    total = max([one.part.total or 0 for one in parts if one.part is not None] + [max(places)])
    if sorted(places) != list(range(1, total + 1)):
        raise IncompleteSlideError(
            f"{name} is incomplete: {len(places)} of {total} parts of a concatenated image are there. "
            "Export all of them."
        )
    return _complete(tuple(places[number] for number in sorted(places)), name)


def _complete(parts: tuple[Instance, ...], name: str) -> Image:
    """An image whose frames fill its grid, and whose files hold their pixels to the end."""
    head = parts[0]
    expected = head.columns * head.rows * head.planes
    present = sum(part.frames for part in parts)
    if head.places is None and present < expected:
        raise IncompleteSlideError(
            f"{name} is incomplete: an image of {expected} tiles holds {present}. Export all instances of the series."
        )
    return Image(parts, tuple(_extents(part) for part in parts))


def _extents(part: Instance) -> NDArray[np.int64]:
    file = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return frame_extents(file, part)
    finally:
        os.close(file)
