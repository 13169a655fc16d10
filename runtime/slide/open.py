"""Choosing the reader of a slide."""

from __future__ import annotations

import errno
import stat
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..errors import DiskFullError, NotASlideError, SlideError
from .archive import is_zip
from .dicom import open_dicom
from .folder import reason
from .instances import is_dicom
from .names import shown
from .openslide import OpenSlideReader, background, describe, open_handle
from .resolution import check_override
from .tiff import TiffJpegReader, open_direct
from .tiff_directory import check_extent, read_directory, refuse_cut_short
from .types import Slide, UnreadableTileError

_OWN_OFFSETS = "hamamatsu"
"""NDPI stores 64-bit offsets in a way of its own, so its directory is left to OpenSlide."""


def open_slide(path: Path, *, mpp: float | None = None) -> Slide:
    """Open a whole-slide image with the fastest reader whose pixels can be trusted.

    A tiled TIFF of JPEG tiles (Aperio SVS among them) and a DICOM series of JPEG frames are read directly; everything
    else through OpenSlide; DICOM that OpenSlide can't decode through wsidicom. What was chosen stands in `info.reader`.

    Args:
        path: A slide file; or a DICOM file (all instances of its series in that folder are used), a folder of DICOM
            (searched with its sub-folders) or a zip of it.
        mpp: Micrometres per level-0 pixel, in place of what the slide states.

    Raises:
        UsageError: `mpp` is not a positive number.
        NotASlideError: There is nothing at `path`, it can't be read, or no reader takes it.
        CorruptSlideError: It is cut short or damaged.
        MissingResolutionError: It does not state its resolution, and `mpp` is None.
        ImplausibleResolutionError: Its resolution is none that scanners give.
        AmbiguousSlideError: It holds more than one DICOM series.
        NoVolumeImageError: It is DICOM without a tissue image.
        IncompleteSlideError: Instances or frames of the DICOM series are missing.
        DiskFullError: There is no room to unpack a zip.
    """
    path = Path(path)
    if path.name in ("", ".."):
        path = path.resolve()  # a folder given as "." has a name too
    if mpp is not None:
        check_override(mpp)
    try:
        if _holds_dicom(path):
            return open_dicom(path, mpp)
        return _open_file(path, mpp)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(
                f"The disk of temporary files filled while {shown(path)} was opened. "
                "Free some, or set TMPDIR to another disk."
            ) from error
        raise NotASlideError(
            f"{shown(path)} can't be read ({reason(error)}). Check the path and its permissions."
        ) from error


def _holds_dicom(path: Path) -> bool:
    """Whether the path is for the DICOM readers; what is no readable file or folder is refused here."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotASlideError(f"{shown(path)} is not there. Check the path.") from error
    if stat.S_ISDIR(status.st_mode):
        return True
    if not stat.S_ISREG(status.st_mode):
        raise NotASlideError(f"{shown(path)} is not a regular file. Give a slide file, or a DICOM file, folder or zip.")
    if status.st_size == 0:
        raise NotASlideError(f"{shown(path)} is empty. Copy the slide again from its source.")
    return is_dicom(path) or is_zip(path)


def _open_file(path: Path, mpp: float | None) -> Slide:
    try:
        handle = open_handle(path)
    except SlideError:
        refuse_cut_short(path)
        check_extent(path, read_directory(path) or ())
        raise
    with handle:
        properties = dict(handle.properties)
    vendor = properties.get("openslide.vendor", "")
    pages = None if vendor == _OWN_OFFSETS else read_directory(path)
    if pages is not None:
        refuse_cut_short(path)
        check_extent(path, pages)
    info = describe(path, properties, mpp)
    reference = OpenSlideReader(path, info, background(properties), ExitStack())
    direct = open_direct(path, info, vendor, pages) if pages is not None else None
    if direct is None:
        return reference
    if _agree(direct, reference):
        reference.close()
        return direct
    direct.close()
    return reference


def _agree(direct: TiffJpegReader, reference: OpenSlideReader) -> bool:
    """Whether both readers give the same pixels, in the first tile of each level and the middle one of the finest.

    Only there does OpenSlide copy pixels rather than resample them, whatever the downsample. A tile that OpenSlide
    can't read says nothing.
    """
    finest = direct.info.levels[0]
    places = [(level, 0, 0) for level in range(len(direct.info.levels))]
    for place in [*places, (0, finest.columns // 2, finest.rows // 2)]:
        try:
            expected = reference.read_tile(*place)
        except UnreadableTileError:
            continue
        try:
            if not np.array_equal(direct.read_tile(*place), expected):
                return False
        except UnreadableTileError:
            return False
    return True
