"""Single H&E tiles and mIF patches from files, as a tower takes them."""

from __future__ import annotations

import stat
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ..errors import PatchShapeError, UnreadableDatasetError

MAX_FILE_BYTES = 256 << 20
"""Larger than any patch: 1,000 channels of 512 px as 8 bit."""

_PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class MifPatch:
    """A patch as its file holds it.

    Attributes:
        pixels: (c, s, s) uint8.
        markers: Names of the channels, where the file states them.
    """

    pixels: NDArray[np.uint8]
    markers: tuple[str, ...] | None


def read_he_patch(path: Path, side: int) -> NDArray[np.uint8]:
    """Read an H&E tile from a PNG, TIFF, JPEG or NumPy file.

    Args:
        path: The file.
        side: Pixels that the tower takes.

    Returns:
        (side, side, 3) uint8 RGB.

    Raises:
        UnreadableDatasetError: It is no such file.
        PatchShapeError: It has another size or type.
    """
    if _checked(path).suffix.lower() == ".npy":
        pixels = _load_npy(path)
    elif path.suffix.lower() in _PICTURES:
        pixels = _load_picture(path, side)
    else:
        raise UnreadableDatasetError(_of_unknown_kind("H&E tile", f"{', '.join(_PICTURES)} or .npy"))
    if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8:
        raise _misshapen("H&E tile", pixels.shape, str(pixels.dtype), f"({side}, {side}, 3) of uint8, RGB")
    return np.ascontiguousarray(pixels)


def read_mif_patch(path: Path, side: int) -> MifPatch:
    """Read an mIF patch, channels first, from a NumPy or an (OME-)TIFF file.

    Args:
        path: The file.
        side: Pixels that the tower takes.

    Raises:
        UnreadableDatasetError: It is no such file.
        PatchShapeError: It has another size or type.
    """
    names: tuple[str, ...] | None = None
    if _checked(path).suffix.lower() == ".npy":
        pixels = _load_npy(path)
    elif path.suffix.lower() in (".tif", ".tiff"):
        pixels, names = _load_channels(path)
    else:
        raise UnreadableDatasetError(_of_unknown_kind("mIF patch", ".npy, .tif or .tiff"))
    if pixels.ndim != 3 or pixels.shape[1:] != (side, side) or not len(pixels) or pixels.dtype != np.uint8:
        wanted = f"(channels, {side}, {side}) of uint8, 0 to 255"
        raise _misshapen("mIF patch", pixels.shape, str(pixels.dtype), wanted)
    return MifPatch(np.ascontiguousarray(pixels), names if names and len(names) == len(pixels) else None)


def _checked(path: Path) -> Path:
    """The path, if it is an ordinary file of ordinary size."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        raise UnreadableDatasetError("The patch's file can't be read. Check its path and its permissions.") from None
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
        raise UnreadableDatasetError("What was given is no file, or larger than any patch. Give a single patch.")
    return path


def _load_npy(path: Path) -> NDArray[np.uint8]:
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        raise UnreadableDatasetError("It is no plain NumPy array. Save it with numpy.save, without objects.") from None
    if not isinstance(array, np.ndarray) or array.nbytes > MAX_FILE_BYTES:
        raise UnreadableDatasetError("The NumPy file holds more than one patch. Give a single patch.")
    return np.array(array)


def _load_picture(path: Path, side: int) -> NDArray[np.uint8]:
    """Decode a picture once its header states the wanted size: a small file may hold a huge picture."""
    try:
        with Image.open(path) as picture:
            if picture.size != (side, side) or picture.mode not in ("RGB", "RGBA"):
                width, height = picture.size
                raise _misshapen("H&E tile", (height, width), picture.mode, f"{side} × {side} pixels in RGB")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UnreadableDatasetError("The tile's file is no readable picture. Export the tile again.") from None


def _load_channels(path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...] | None]:
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if series.nbytes > MAX_FILE_BYTES:
                raise ValueError("too large")
            return np.squeeze(series.asarray()), _channel_names(file.ome_metadata)
    except Exception:  # tifffile raises anything on odd files
        raise UnreadableDatasetError("It is no readable TIFF of channels. Export the patch again.") from None


def _channel_names(ome: str | None) -> tuple[str, ...] | None:
    """Names of the channels in OME-XML, or None where one is missing. Expands no entity: such files are refused."""
    if ome is None or "<!" in ome.replace("<!--", ""):
        return None
    root = ElementTree.fromstring(ome)  # noqa: S314 (a declaration, and so any entity, is refused above)
    channels = [node for node in root.iter() if node.tag.rpartition("}")[2] == "Channel"]
    names = tuple(node.get("Name", "") for node in channels)
    return names if names and all(names) else None


def _of_unknown_kind(what: str, kinds: str) -> str:
    return f"The {what} is no file of a known kind. Give {kinds}."


def _misshapen(what: str, shape: tuple[int, ...], kind: str, wanted: str) -> PatchShapeError:
    return PatchShapeError(
        f"The {what} is {' × '.join(map(str, shape)) or 'empty'} of {kind}; the tower takes {wanted}. Cut it to that "
        "size at the bundle's resolution (`haiku-edge bundle info`); deeper images go through `atlas build`, which "
        "brings them to 8 bit."
    )
