"""Opening DICOM slides: which instances make up the slide, and which reader takes them.

A slide is all tissue instances of one series. Where they are JPEG baseline, frames are read directly; else OpenSlide
reads them, and wsidicom what OpenSlide can't.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import openslide

from ..errors import NotASlideError
from .archive import extract_dicom, is_zip
from .dicom_jpeg import DicomJpegReader, frame_numbers, is_plain_jpeg
from .instances import Instance
from .names import DICOM_FORMAT, printable, shown
from .openslide import OpenSlideReader, background, levels
from .resolution import resolve
from .series import Image, check_base, images, series_in_folder, series_of_file, series_of_files
from .types import Level, Slide, SlideInfo, UnreadableTileError
from .wsidicom import open_wsidicom


def open_dicom(path: Path, mpp: float | None) -> Slide:
    """Open a DICOM slide; see `open_slide` for its errors.

    Args:
        path: A DICOM file, a folder or a zip.
        mpp: The user's µm/px, or None.
    """
    resources = ExitStack()
    try:
        return _open(path, mpp, resources)
    except BaseException:
        resources.close()
        raise


def _open(path: Path, mpp: float | None, resources: ExitStack) -> Slide:
    instances = _instances(path, resources)
    found = images(instances, shown(path))
    resolution, warnings = resolve(shown(path), found[0].head.spacing, "DICOM PixelSpacing", mpp)
    check_base(found, shown(path), mpp)
    info = SlideInfo(
        name=shown(path) if path.is_dir() else printable(path.stem),
        format=DICOM_FORMAT,
        reader="dicom-jpeg",
        resolution=resolution,
        levels=_levels(found),
        files=tuple(sorted(part.path for image in found for part in image.parts)),
        warnings=warnings,
    )
    return _choose(info, found, resources)


def _instances(path: Path, resources: ExitStack) -> tuple[Instance, ...]:
    if path.is_dir():
        return series_in_folder(path, shown(path))
    if is_zip(path):
        return series_of_files(extract_dicom(path, _private_folder(resources)), shown(path))
    return series_of_file(path)


def _private_folder(resources: ExitStack) -> Path:
    """A folder that only this user can enter, removed with the slide."""
    return Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="haiku-edge-")))


def _choose(info: SlideInfo, found: Sequence[Image], resources: ExitStack) -> Slide:
    """The first reader that takes the slide; it closes `resources` with itself."""
    frames = [frame_numbers(image) for image in found]
    placed = [frame for frame in frames if frame is not None]
    if len(placed) == len(frames) and all(is_plain_jpeg(image) for image in found):
        return DicomJpegReader(info, found, placed, resources)
    reader = _through_openslide(info, resources)
    if reader is not None and _reads_edges(reader):
        return reader
    try:
        last = open_wsidicom(info, found[0].head.coding, resources)
    except NotASlideError:
        if reader is None:
            raise
        return reader
    return last if reader is None or _reads_edges(last) else reader


def _reads_edges(slide: Slide) -> bool:
    """Whether the last tile of every level can be read. OpenSlide refuses tiles that a writer cropped at the edge."""
    try:
        for index, level in enumerate(slide.info.levels):
            slide.read_tile(index, level.columns - 1, level.rows - 1)
    except UnreadableTileError:
        return False
    return True


def _through_openslide(info: SlideInfo, resources: ExitStack) -> OpenSlideReader | None:
    """OpenSlide's reader over exactly the slide's own files, or None where it can't read them.

    OpenSlide takes all that lies beside a file, so it is shown a private folder with links to the chosen instances.
    """
    folder = _private_folder(resources)
    for index, file in enumerate(info.files):
        (folder / f"{index:06}.dcm").symlink_to(file.resolve())
    entry = folder / f"{0:06}.dcm"
    try:
        with openslide.OpenSlide(entry) as handle:
            properties = dict(handle.properties)
    except openslide.OpenSlideError:
        return None
    seen = levels(properties)
    if [(level.width, level.height) for level in seen] != [(level.width, level.height) for level in info.levels]:
        return None
    return OpenSlideReader(entry, replace(info, reader="openslide", levels=seen), background(properties), resources)


def _levels(found: Sequence[Image]) -> tuple[Level, ...]:
    base = found[0].head
    return tuple(
        Level(
            width=image.head.width,
            height=image.head.height,
            tile_width=image.head.tile_width,
            tile_height=image.head.tile_height,
            downsample=(base.width / image.head.width + base.height / image.head.height) / 2,
        )
        for image in found
    )
