"""The direct reader of DICOM slides coded as JPEG baseline: frames by offset, colours by measurement."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .colour import SAMPLED_FRAMES, measure
from .frames import frame_bytes
from .jpeg import Colour, decode_tile, prefix
from .series import Image
from .tiff import whiten_outside
from .types import Level, SlideInfo, UnreadableTileError

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_STATED_COLOURS = {"RGB": Colour.RGB, "YBR_FULL_422": Colour.YCBCR, "YBR_FULL": Colour.YCBCR}


@dataclass(frozen=True, slots=True)
class _FrameGrid:
    """Where the frames of one level lie.

    Attributes:
        files: Descriptors of its instances.
        file: (n,) int32, index into `files` for each frame.
        extents: (n, 2) int64, first byte of each frame and the first after it.
        frame: (rows, columns) int32, which frame each tile is; −1 where a sparse slide has none.
    """

    files: tuple[int, ...]
    file: NDArray[np.int32]
    extents: NDArray[np.int64]
    frame: NDArray[np.int32]

    def read(self, frame: int) -> bytes:
        start, end = (int(position) for position in self.extents[frame])
        return frame_bytes(self.files[int(self.file[frame])], start, end)


class DicomJpegReader:
    """A DICOM slide whose JPEG frames are read directly. `read_tile` may be called from several threads at once."""

    def __init__(
        self, info: SlideInfo, found: Sequence[Image], frames: Sequence[NDArray[np.int32]], resources: ExitStack
    ) -> None:
        """Read the images of one series.

        Args:
            info: What the slide says about itself; the colours that were measured against its header are added.
            found: Its levels.
            frames: Of each level, which frame each tile is.
            resources: Closed with the slide.
        """
        self._resources = resources
        self._grids = tuple(self._open(image, frame) for image, frame in zip(found, frames, strict=True))
        stated = [_STATED_COLOURS[image.head.photometric] for image in found]
        measured = [_measure(grid, level) for grid, level in zip(self._grids, info.levels, strict=True)]
        colours = [said if seen is None else seen for seen, said in zip(measured, stated, strict=True)]
        self._prefixes = tuple(prefix(b"", colour) for colour in colours)
        overruled = sum(true is not said for true, said in zip(colours, stated, strict=True))
        self._info = replace(info, reader="dicom-jpeg", warnings=(*info.warnings, *_overruled(overruled, len(found))))

    @property
    def info(self) -> SlideInfo:
        """What the slide says about itself."""
        return self._info

    def read_tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Decode one of the file's own tiles; see `Slide.read_tile`."""
        shape, grid = self._info.levels[level], self._grids[level]
        frame = int(grid.frame[row, column])
        if frame < 0:
            return np.full((shape.tile_height, shape.tile_width, 3), 255, np.uint8)
        least = (
            min(shape.tile_width, shape.width - column * shape.tile_width),
            min(shape.tile_height, shape.height - row * shape.tile_height),
        )
        tile = decode_tile(grid.read(frame), self._prefixes[level], shape.tile_width, shape.tile_height, least=least)
        if tile.shape[:2] != (shape.tile_height, shape.tile_width):
            missing = (shape.tile_height - tile.shape[0], shape.tile_width - tile.shape[1])
            tile = np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=255)
        return whiten_outside(tile, shape, column, row)

    def close(self) -> None:
        """Release the files."""
        self._resources.close()

    def _open(self, image: Image, frame: NDArray[np.int32]) -> _FrameGrid:
        files = []
        for part in image.parts:
            files.append(os.open(part.path, os.O_RDONLY | os.O_CLOEXEC))
            self._resources.callback(os.close, files[-1])
        numbers = np.repeat(np.arange(len(files), dtype=np.int32), [part.frames for part in image.parts])
        return _FrameGrid(tuple(files), numbers, np.concatenate(image.extents), frame)


def is_plain_jpeg(image: Image) -> bool:
    """Whether a level is 8-bit baseline JPEG in a colour that the direct reader knows."""
    return image.head.photometric in _STATED_COLOURS and all(
        part.transfer_syntax == _JPEG_BASELINE and part.photometric == image.head.photometric for part in image.parts
    )


def frame_numbers(image: Image) -> NDArray[np.int32] | None:
    """Which frame each tile of a level is, (rows, columns); None where frames lie in planes, or off the grid."""
    head = image.head
    if head.places is None:
        full = head.planes == 1 and image.frames == head.columns * head.rows
        return np.arange(image.frames, dtype=np.int32).reshape(head.rows, head.columns) if full else None
    places = [place for part in image.parts for place in part.places or ()]
    frame = np.full((head.rows, head.columns), -1, np.int32)
    for number, (x, y) in enumerate(places):
        column, row = x // head.tile_width, y // head.tile_height
        on_grid = (
            x % head.tile_width == y % head.tile_height == 0 and 0 <= column < head.columns and 0 <= row < head.rows
        )
        if not on_grid or frame[row, column] >= 0:
            return None
        frame[row, column] = number
    return frame if len(places) == image.frames else None


def _measure(grid: _FrameGrid, level: Level) -> Colour | None:
    """The colour that a sample of a level's frames shows."""
    numbers = np.unique(np.linspace(0, len(grid.extents) - 1, SAMPLED_FRAMES).astype(int))
    raw_components = prefix(b"", Colour.RGB)
    tiles = []
    for number in numbers:
        try:
            data = grid.read(int(number))
            raw = decode_tile(data, raw_components, level.tile_width, level.tile_height, least=(1, 1))
        except UnreadableTileError:
            continue
        tiles.append(raw)
    return measure(tiles)


def _overruled(count: int, levels: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (
        f"The DICOM header names the wrong colour coding for {count} of {levels} levels: glass would not be white. "
        "The coding was taken from the pixels.",
    )
