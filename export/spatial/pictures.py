"""The H&E of a section as a slide: pyramidal slides, plain pictures, and images of SpatialData folders."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from haiku_edge.runtime.errors import NotASlideError, UnreadableDatasetError
from haiku_edge.runtime.slide import Level, Resolution, Slide, SlideInfo, UnreadableTileError, open_slide
from haiku_edge.runtime.slide.resolution import COARSEST_MPP, FINEST_MPP

_TILE = 512
"""Side of the tiles that a plain picture is read in."""

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_TIFFS: Final = (".tif", ".tiff", ".btf")

_STANDARD_ERROR: Final = 2
"""Its descriptor."""

Reader = Callable[[slice, slice], NDArray[Any]]
"""Rows and columns → (h, w, c) uint8 of one level."""


@dataclass(frozen=True, slots=True)
class PixelSlide:
    """A picture as a slide.

    Attributes:
        info: What is known of it.
        readers: One a level.
    """

    info: SlideInfo
    readers: Sequence[Reader]

    def read_tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Read one tile; see `Slide.read_tile`."""
        shape = self.info.levels[level]
        left, upper = column * shape.tile_width, row * shape.tile_height
        right, lower = min(left + shape.tile_width, shape.width), min(upper + shape.tile_height, shape.height)
        tile = np.full((shape.tile_height, shape.tile_width, 3), 255, np.uint8)
        try:
            tile[: lower - upper, : right - left] = self.readers[level](slice(upper, lower), slice(left, right))
        except Exception as error:  # a damaged chunk can fail in any way
            raise UnreadableTileError(f"the image can't be read there ({type(error).__name__})") from error
        return tile

    def close(self) -> None:
        """Nothing is held open."""


@contextlib.contextmanager
def open_picture(path: Path, mpp: float, scratch: Path) -> Iterator[Slide]:
    """Open the H&E of a section.

    Slides are read as `predict` reads them. A plain TIFF that no slide reader takes is unpacked to a temporary file;
    a PNG or JPEG is held in memory.

    Args:
        path: A slide, a picture, or an image of a SpatialData folder.
        mpp: Micrometres per level-0 pixel.
        scratch: Folder for the temporary file.

    Raises:
        SlideError: It is a damaged slide.
        UnreadableDatasetError: It is no 8-bit RGB picture, or a damaged one.
    """
    if path.is_dir() and _is_zarr(path):
        yield _open_zarr(path, mpp)
        return
    with contextlib.ExitStack() as stack:
        slide = None if path.suffix.casefold() in _PICTURES else _try_slide(path, mpp)
        if slide is None:
            slide = stack.enter_context(_open_plain(path, mpp, scratch))
        stack.callback(slide.close)
        yield slide


def _try_slide(path: Path, mpp: float) -> Slide | None:
    """The slide, or None for a TIFF that is a plain picture."""
    plain = path.suffix.casefold() in _TIFFS
    if plain and not FINEST_MPP <= mpp <= COARSEST_MPP:
        return None
    try:
        return open_slide(path, mpp=mpp)
    except NotASlideError:
        if plain and path.is_file():
            return None
        raise


@contextlib.contextmanager
def _open_plain(path: Path, mpp: float, scratch: Path) -> Iterator[PixelSlide]:
    if path.suffix.casefold() in _PICTURES:
        pixels = _decoded(path)
        yield _slide_of(path, mpp, [pixels.shape[:2]], [lambda rows, columns: pixels[rows, columns]])
        return
    with tempfile.TemporaryFile(dir=scratch) as file:
        unpacked = _unpacked(path, file)
        yield _slide_of(path, mpp, [unpacked.shape[:2]], [lambda rows, columns: unpacked[rows, columns]])


def _decoded(path: Path) -> NDArray[np.uint8]:
    """A PNG or JPEG, whole."""
    try:
        content = np.fromfile(path, np.uint8)
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # places count in pixels as they are stored
        with _quiet():
            image = cv2.imdecode(content, flags) if len(content) else None
    except (OSError, cv2.error) as error:
        raise _unreadable(path, type(error).__name__) from None
    if image is None:
        raise _unreadable(path, "its decoder does not take it")
    return np.asarray(image[:, :, ::-1], np.uint8)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on standard error: decoders write there of a file that they do not take, and can't be told not to."""
    kept, nowhere = os.dup(_STANDARD_ERROR), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _STANDARD_ERROR)
        yield
    finally:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)
        os.close(nowhere)


def _unpacked(path: Path, file: Any) -> NDArray[np.uint8]:
    """A TIFF's first image, unpacked to a file that pages in what is read."""
    shape, kind = _first_image(path)
    planar = len(shape) == 3 and shape[0] in (3, 4)
    if len(shape) != 3 or kind != np.uint8 or shape[0 if planar else 2] not in (3, 4):
        raise _unreadable(path, f"it is {shape} {kind}, not 8-bit RGB")
    # Room is taken before it is written to: a full disk under a memory map would end the process.
    os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))
    pixels = np.memmap(file, np.uint8, "r+", shape=shape)
    try:
        with tifffile.TiffFile(path) as tiff:
            tiff.series[0].asarray(out=pixels)
    except Exception as error:  # decoders have no common base of errors
        raise _unreadable(path, type(error).__name__) from None
    return np.asarray(np.moveaxis(pixels, 0, -1) if planar else pixels, np.uint8)[:, :, :3]


def _first_image(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        with tifffile.TiffFile(path) as tiff:
            return tuple(tiff.series[0].shape), np.dtype(tiff.series[0].dtype)
    except Exception as error:  # decoders have no common base of errors
        raise _unreadable(path, type(error).__name__) from None


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


def _open_zarr(path: Path, mpp: float) -> PixelSlide:
    """An OME-Zarr image with the axes (channel, row, column)."""
    try:
        levels = [zarr.open_array(path / place, mode="r") for place in level_paths(path)]
        if any(level.ndim != 3 or level.shape[0] not in (3, 4) or level.dtype != np.uint8 for level in levels):
            raise _unreadable(path, f"it is {levels[0].shape} {levels[0].dtype}, not 8-bit RGB")
    except UnreadableDatasetError:
        raise
    except Exception as error:  # a damaged store can fail in any way
        raise _unreadable(path, type(error).__name__) from None
    readers = [_zarr_reader(level) for level in levels]
    return _slide_of(path, mpp, [level.shape[1:] for level in levels], readers)


def level_paths(path: Path) -> list[str]:
    """Names of the levels of an OME-Zarr image, finest first.

    Raises:
        KeyError, IndexError, TypeError, OSError: It is none.
    """
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    scales = attributes.get("ome", attributes)["multiscales"][0]["datasets"]
    return [str(scale["path"]) for scale in scales]


def _zarr_reader(level: Any) -> Reader:
    return lambda rows, columns: np.moveaxis(np.asarray(level[:3, rows, columns]), 0, -1)


def _slide_of(path: Path, mpp: float, shapes: Sequence[tuple[int, ...]], readers: Sequence[Reader]) -> PixelSlide:
    finest = shapes[0][1]
    levels = tuple(Level(width, height, _TILE, _TILE, finest / width) for height, width in shapes)
    info = SlideInfo(path.stem, "picture", "picture", Resolution(mpp, mpp, "the table of sections"), levels, (path,))
    return PixelSlide(info, readers)


def _unreadable(path: Path, why: str) -> UnreadableDatasetError:
    return UnreadableDatasetError(
        f"{path.name} can't be read as the section's H&E ({why}). Give a slide, or a TIFF, PNG or JPEG of 8-bit RGB."
    )
