"""The value types of a slide, and the protocol that every reader keeps.

A slide is a pyramid of levels, each cut by its file into tiles of one size. Readers give whole file tiles; everything
else (regions, overviews, the tiles that a tower takes) is put together from them, so that each is decoded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Resolution:
    """Micrometres per level-0 pixel.

    Attributes:
        x: Horizontally, µm/px.
        y: Vertically, µm/px.
        source: Where it was read, such as 'aperio.MPP', 'DICOM PixelSpacing' or '--mpp'.
    """

    x: float
    y: float
    source: str

    @property
    def mean(self) -> float:
        """The mean of both directions, µm/px."""
        return (self.x + self.y) / 2


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the pyramid.

    Attributes:
        width: Pixels across.
        height: Pixels down.
        tile_width: Width of the file's own tiles at this level, pixels.
        tile_height: Height of them.
        downsample: Level-0 pixels per pixel of this level, ≥ 1.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    downsample: float

    @property
    def columns(self) -> int:
        """Number of file tiles across."""
        return -(-self.width // self.tile_width)

    @property
    def rows(self) -> int:
        """Number of file tiles down."""
        return -(-self.height // self.tile_height)


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What a slide says about itself.

    Attributes:
        name: File or folder name without its ending; names the output folder.
        format: Human name of the format, such as 'Aperio SVS' or 'DICOM-WSI'.
        reader: Which reader decodes it, such as 'tiff-jpeg', 'dicom-jpeg', 'openslide' or 'wsidicom'.
        resolution: Micrometres per pixel at level 0.
        levels: Finest first.
        files: The files that make up the slide, sorted; what its digest is taken over.
        warnings: What the user should know about how it was read.
    """

    name: str
    format: str
    reader: str
    resolution: Resolution
    levels: tuple[Level, ...]
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


class UnreadableTileError(Exception):
    """One file tile can't be decoded. Internal to the slide package: the stream lists and skips such tiles."""


class Slide(Protocol):
    """An open slide. `read_tile` may be called from several threads at once."""

    @property
    def info(self) -> SlideInfo:
        """What the slide says about itself."""
        ...

    def read_tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Decode one of the file's own tiles.

        Returns:
            (tile_height, tile_width, 3) uint8 RGB, always of full size: pixels beyond the level's edge, and tiles that
            a sparse file leaves out, are white (255).

        Raises:
            UnreadableTileError: The tile is corrupt.
        """
        ...

    def close(self) -> None:
        """Release files and native handles."""
        ...
