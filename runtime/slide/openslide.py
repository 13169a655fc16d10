"""The reader for every format that OpenSlide knows, and the first look at any file.

OpenSlide refuses what is damaged where others hand out garbage, so a file that it refuses is refused. Its handle is
dead after the first error, so handles come from a pool, one to a reading thread, and one that failed is thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from ..errors import CorruptSlideError, NotASlideError
from .names import DICOM_FORMAT, printable, shown
from .resolution import number, resolve
from .types import Level, SlideInfo, UnreadableTileError

FORMATS = {
    "aperio": "Aperio SVS",
    "dicom": DICOM_FORMAT,
    "generic-tiff": "Tiled TIFF",
    "hamamatsu": "Hamamatsu",
    "leica": "Leica SCN",
    "mirax": "MIRAX",
    "philips-tiff": "Philips TIFF",
    "sakura": "Sakura SVSLIDE",
    "synthetic": "Synthetic",
    "trestle": "Trestle TIFF",
    "ventana": "Ventana",
    "zeiss": "Zeiss CZI",
}
"""Human names of OpenSlide's vendors."""

_CACHE_BYTES = 64 << 20
"""OpenSlide's cache of decoded tiles, shared by all handles of a slide. Tiles are asked for on the file's own grid, so
it only serves formats whose tiles overlap or lie off that grid."""

_VIRTUAL_TILE = 512
"""Pixels. Side of the tiles that are cut where a file has none of its own, or none of a sensible size."""

_SENSIBLE_TILE = range(64, 2049)
_WHITE = (255, 255, 255)


class OpenSlideReader:
    """A slide read through OpenSlide. `read_tile` may be called from several threads at once."""

    def __init__(self, path: Path, info: SlideInfo, background: tuple[int, int, int], resources: ExitStack) -> None:
        """Read `path`, which OpenSlide has opened before.

        Args:
            path: What is given to OpenSlide.
            info: What the slide says about itself.
            background: RGB that shows where the slide has no pixels.
            resources: Closed with the slide.
        """
        self._path = path
        self._info = info
        self._background = Image.new("RGBA", (1, 1), (*background, 255))
        self._resources = resources
        self._cache = openslide.OpenSlideCache(_CACHE_BYTES)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._closed = False
        resources.callback(self._close_idle)

    @property
    def info(self) -> SlideInfo:
        """What the slide says about itself."""
        return self._info

    def read_tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Decode one tile; see `Slide.read_tile`.

        Where a level's downsample is no whole number, OpenSlide resamples: a tile lies true to half a level-0 pixel.
        """
        shape = self._info.levels[level]
        left, top = column * shape.tile_width, row * shape.tile_height
        width, height = min(shape.tile_width, shape.width - left), min(shape.tile_height, shape.height - top)
        origin = (round(left * shape.downsample), round(top * shape.downsample))
        tile = np.full((shape.tile_height, shape.tile_width, 3), 255, np.uint8)
        tile[:height, :width] = self._flatten(self._read(origin, level, (width, height)))
        return tile

    def close(self) -> None:
        """Release all handles."""
        self._closed = True
        self._resources.close()

    def _close_idle(self) -> None:
        while (handle := self._take()) is not None:
            handle.close()

    def _read(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """RGBA pixels through a pooled handle, which is thrown away if it fails."""
        if self._closed:
            raise ValueError("the slide is closed")
        try:
            handle = self._take() or self._open()
        except openslide.OpenSlideError as error:
            raise UnreadableTileError(f"the slide can't be opened again ({_reason(error, self._path)})") from error
        try:
            pixels: Image.Image = handle.read_region(origin, level, size)
        except openslide.OpenSlideError as error:
            handle.close()
            raise UnreadableTileError(f"OpenSlide can't read it ({_reason(error, self._path)})") from error
        self._idle.put(handle)
        return pixels

    def _take(self) -> Any | None:
        try:
            return self._idle.get_nowait()
        except Empty:
            return None

    def _open(self) -> Any:
        handle = openslide.OpenSlide(self._path)
        handle.set_cache(self._cache)
        return handle

    def _flatten(self, pixels: Image.Image) -> NDArray[np.uint8]:
        """RGBA over the background colour."""
        if pixels.getchannel("A").getextrema() == (255, 255):
            return np.asarray(pixels)[..., :3]
        below = self._background.resize(pixels.size)
        return np.asarray(Image.alpha_composite(below, pixels))[..., :3]


def open_handle(path: Path) -> Any:
    """Open a file with OpenSlide.

    Raises:
        NotASlideError: OpenSlide does not know the format.
        CorruptSlideError: It knows the format, but can't open this file.
    """
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise NotASlideError(
            f"{shown(path)} is not a slide that any reader knows. "
            "Give an SVS or another whole-slide file, or a DICOM file, folder or zip."
        ) from error
    except openslide.OpenSlideError as error:
        raise CorruptSlideError(
            f"{shown(path)} looks like a slide, but can't be opened ({_reason(error, path)}). "
            "It is damaged, or coded in a way that is not supported; export it again from the scanner's software."
        ) from error


def describe(path: Path, properties: Mapping[str, str], mpp: float | None) -> SlideInfo:
    """What OpenSlide's properties say about a slide.

    Args:
        path: The slide file.
        properties: Of its handle.
        mpp: The user's µm/px, or None.

    Raises:
        MissingResolutionError: No resolution is stated.
        ImplausibleResolutionError: The resolution is outside what scanners give.
    """
    vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "")
    x, y = (number(properties.get(name)) for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
    stated = (x, y) if x is not None and y is not None else None
    resolution, warnings = resolve(shown(path), stated, _source(vendor, properties), mpp)
    return SlideInfo(
        name=printable(path.stem),
        format=FORMATS.get(vendor, vendor or "unknown"),
        reader="openslide",
        resolution=resolution,
        levels=levels(properties),
        files=slide_files(path, vendor),
        warnings=warnings,
    )


def levels(properties: Mapping[str, str]) -> tuple[Level, ...]:
    """The pyramid as OpenSlide's properties give it; virtual tiles where the file has none of a sensible size."""
    found = []
    for index in range(int(properties["openslide.level-count"])):

        def value(name: str, index: int = index) -> str:
            return properties.get(f"openslide.level[{index}].{name}", "0")

        tile = int(value("tile-width")), int(value("tile-height"))
        if not all(side in _SENSIBLE_TILE for side in tile):
            tile = _VIRTUAL_TILE, _VIRTUAL_TILE
        found.append(Level(int(value("width")), int(value("height")), *tile, float(value("downsample"))))
    return tuple(found)


def background(properties: Mapping[str, str]) -> tuple[int, int, int]:
    """RGB of what is not scanned; white where the slide does not say."""
    text = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "")
    try:
        red, green, blue = bytes.fromhex(text)
    except ValueError:
        return _WHITE
    return red, green, blue


def slide_files(path: Path, vendor: str) -> tuple[Path, ...]:
    """The file itself, and those beside it that formats of several files name or own."""
    if vendor == "mirax":
        folder = path.with_suffix("")
        return (path, *sorted(file for file in folder.iterdir() if file.is_file())) if folder.is_dir() else (path,)
    if vendor == "hamamatsu" and path.suffix.lower() in (".vms", ".vmu"):
        lines = path.read_text(errors="replace").splitlines()
        named = {path.parent / line.partition("=")[2].strip() for line in lines if line.partition("=")[2].strip()}
        return (path, *sorted(file for file in named if file.is_file()))
    return (path,)


def _reason(error: Exception, path: Path) -> str:
    """OpenSlide's words without the folder, which may be named after a patient."""
    return printable(str(error).replace(str(path), path.name))


def _source(vendor: str, properties: Mapping[str, str]) -> str:
    if vendor == "aperio" and "aperio.MPP" in properties:
        return "aperio.MPP"
    return "TIFF resolution tags" if vendor == "generic-tiff" else "openslide.mpp-x"
