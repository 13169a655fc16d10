"""The reader for DICOM that OpenSlide can't decode: JPEG-LS, HTJ2K, JPEG XL, JPEG 2000 with cropped edges.

Last in line on purpose: its decoders hand out pixels for some damaged tiles where OpenSlide raises, and it trusts a
JPEG's own mark of colour, which converters write wrongly. Neither matters for the codings that are left to it.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NotASlideError
from .types import SlideInfo, UnreadableTileError

WARNING = "The slide's coding can only be read through wsidicom, which does not notice every damaged tile."


class WsiDicomReader:
    """A slide read through wsidicom. `read_tile` may be called from several threads at once."""

    def __init__(self, handle: Any, info: SlideInfo, resources: ExitStack) -> None:
        """Read an open handle whose levels are those of `info`; `resources` are closed with the slide."""
        self._resources = resources
        self._handle = handle
        self._info = info
        self._levels = [level.level for level in handle.pyramid]

    @property
    def info(self) -> SlideInfo:
        """What the slide says about itself."""
        return self._info

    def read_tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Decode one of the file's own tiles; see `Slide.read_tile`."""
        shape = self._info.levels[level]
        try:
            picture = self._handle.read_tile(self._levels[level], (column, row)).convert("RGB")
        except Exception as error:  # the decoders behind it raise anything, and their messages may quote the header
            raise UnreadableTileError(f"wsidicom can't decode it ({type(error).__name__})") from None
        width = min(shape.tile_width, shape.width - column * shape.tile_width)
        height = min(shape.tile_height, shape.height - row * shape.tile_height)
        tile = np.full((shape.tile_height, shape.tile_width, 3), 255, np.uint8)
        pixels = np.asarray(picture, np.uint8)[:height, :width]
        tile[: pixels.shape[0], : pixels.shape[1]] = pixels
        return tile

    def close(self) -> None:
        """Release the files."""
        self._resources.close()


def open_wsidicom(info: SlideInfo, coding: str, resources: ExitStack) -> WsiDicomReader:
    """Open the instances of one series.

    Args:
        info: What the slide says about itself; its files are the tissue instances.
        coding: Name of its pixels' coding, for the message.
        resources: Closed with the slide.

    Raises:
        NotASlideError: No reader decodes them.
    """
    from wsidicom import WsiDicom  # takes half a second to import, and few slides need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote header values
            handle = WsiDicom.open(list(info.files))
        resources.callback(handle.close)
        sizes = [(level.size.width, level.size.height) for level in handle.pyramid]
    except Exception:  # it raises anything, and its messages may quote the header
        raise _unreadable(info, coding) from None
    if sizes != [(level.width, level.height) for level in info.levels]:
        raise _unreadable(info, coding)
    described = replace(info, reader="wsidicom", warnings=(*info.warnings, WARNING))
    return WsiDicomReader(handle, described, resources)


def _unreadable(info: SlideInfo, coding: str) -> NotASlideError:
    return NotASlideError(
        f"{info.name} is a DICOM slide whose coding ({coding}), or whose header, no reader here understands. "
        "Export it as JPEG or JPEG 2000; HTJ2K and JPEG XL need the extra haiku-edge[codecs]."
    )
