"""From a heap of DICOM instances to the levels of one slide, or a refusal that says what is wrong with the heap."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from ..errors import AmbiguousSlideError, CorruptSlideError, IncompleteSlideError, NotASlideError, NoVolumeImageError
from .frames import frame_extents
from .instances import SLIDE_CLASS, Instance, dicom_files, read_instance, read_instances

_ASIDE = ("LABEL", "OVERVIEW", "LOCALIZER", "THUMBNAIL")
"""Kinds of image that are never read: they may show the patient's name, or repeat the tissue."""

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
        NotASlideError: There is no DICOM, or none of the whole-slide kind.
        NoVolumeImageError: There are only labels, overviews or thumbnails.
        AmbiguousSlideError: There is more than one series.
        CorruptSlideError: A header can't be read.
    """
    found = read_instances(dicom_files(folder))
    if not found:
        raise NotASlideError(f"{name} holds no DICOM file. Give a slide file, or the folder of a DICOM slide.")
    return _one_series(found, name)


def series_of_file(path: Path) -> tuple[Instance, ...]:
    """The tissue instances of one file's series, from that file's folder.

    Raises:
        NotASlideError: The file is DICOM of another kind than whole-slide images.
        NoVolumeImageError: There are only labels, overviews or thumbnails.
        CorruptSlideError: The file's header can't be read, or that of another in its folder that may belong to it.
    """
    given = read_instance(path)
    if given.sop_class != SLIDE_CLASS:
        raise _another_kind((given,), path.name)
    beside = (other for other in dicom_files(path.parent, deep=False) if other != path)
    return _one_series((given, *(one for one in read_instances(beside) if one.series == given.series)), path.name)


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


def check_base(found: Sequence[Image], name: str) -> None:
    """Refuse a series whose every image says that it was made from a finer one.

    Raises:
        IncompleteSlideError: The full-resolution instance is missing.
    """
    if all(image.head.resampled for image in found):
        raise IncompleteSlideError(
            f"The full-resolution instance of {name} is missing: every image in it says that it was resampled "
            "from a finer one. Export all instances of the series."
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
            f"The DICOM header of {instance.path.name} is cut short or states an impossible size. Export it again."
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
