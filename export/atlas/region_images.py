"""The images of a region: a multichannel one, read one channel at a time, and an H&E one."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

from haiku_edge.runtime.errors import PanelError, UnreadableDatasetError

MAX_SIDE = 50_000
"""Regions with a longer side are passed over, in pixels (Haiku, 2605.00925, code)."""

_WHOLE_BYTES = 4 << 30
"""A file that can't be read channel by channel is read whole up to this size."""

_UNIT_UM = {"µm": 1.0, "um": 1.0, "μm": 1.0, "micron": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "nanometer": 1e-3}
_RESOLUTION_UM = {2: 25_400.0, 3: 10_000.0}
"""TIFF's ResolutionUnit: inch and centimetre, in micrometres."""


@dataclass(frozen=True, slots=True)
class Multichannel:
    """A multichannel image.

    Attributes:
        channels: Names as the file states them; empty where it states none.
        count: Number of channels.
        height: Pixels.
        width: Pixels.
        mpp: Micrometres per pixel, or None where the file does not state it.
        read: Reads one channel by its number: (height, width), of the file's type.
    """

    channels: tuple[str, ...]
    count: int
    height: int
    width: int
    mpp: float | None
    read: Callable[[int], NDArray[Any]]


def open_multichannel(path: Path) -> Multichannel:
    """Open an OME-TIFF, another TIFF with one page a channel, or a Zarr or OME-Zarr folder.

    Raises:
        UnreadableDatasetError: Not such an image, or damaged.
    """
    try:
        image = _open_zarr(path) if path.is_dir() else _open_tiff(path)
    except UnreadableDatasetError:
        raise
    except Exception as error:  # decoders have no common base of errors
        raise UnreadableDatasetError(
            f"{path.name} can't be read as a multichannel image ({type(error).__name__}). Give an OME-TIFF, a TIFF "
            "with one page a channel, or a Zarr folder with the axes (channel, row, column)."
        ) from None

    def read(channel: int) -> NDArray[Any]:
        try:
            return image.read(channel)
        except Exception as error:  # decoders have no common base of errors
            raise UnreadableDatasetError(
                f"Channel {channel + 1} of {path.name} is damaged ({type(error).__name__}). Copy the image again."
            ) from None

    return replace(image, read=read)


def channel_names(image: Multichannel, given: tuple[str, ...], region: str) -> tuple[str, ...]:
    """The names of an image's channels: those given, else the file's own.

    Raises:
        PanelError: None are there, or not one a channel.
    """
    names = given or image.channels
    if len(names) != image.count:
        what = f"{len(names)} names" if names else "no names"
        raise PanelError(
            f"The region {region} has {image.count} channels and {what} for them. Name them in the column channels of "
            "regions.csv, one a channel, with ';' between."
        )
    return names


def _open_tiff(path: Path) -> Multichannel:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes = series.axes.replace("S", "C").replace("Q", "C").replace("I", "C")
        shape = dict(zip(axes, series.shape, strict=True))
        if any(size > 1 for axis, size in shape.items() if axis not in "CYX") or axes.count("C") > 1:
            raise UnreadableDatasetError(
                f"{path.name} has the axes {series.axes} {series.shape}; a region has channels, rows and columns only."
            )
        count = shape.get("C", 1)
        paged = len(series.pages) == count
        ome = _ome_pixels(file.ome_metadata) if file.is_ome and file.ome_metadata else None
        pages = [series.pages[number] for number in range(len(series.pages))]
        _check_whole(path, pages)
        names = _ome_names(ome) if ome is not None else _page_names(pages)
        mpp = _ome_mpp(ome) if ome is not None else None
        if not paged and path.stat().st_size > _WHOLE_BYTES:
            raise UnreadableDatasetError(f"{path.name} does not keep its channels apart. Write one page a channel.")

    def read(channel: int) -> NDArray[Any]:
        with tifffile.TiffFile(path) as file:
            if paged:
                return np.asarray(file.asarray(series=0, key=channel)).reshape(shape["Y"], shape["X"])
            whole = np.moveaxis(np.squeeze(file.series[0].asarray()), axes.replace("Z", "").index("C"), 0)
            return np.asarray(whole[channel])

    return Multichannel(names, count, shape["Y"], shape["X"], mpp or _tag_mpp(pages[0]), read)


def _check_whole(path: Path, pages: list[Any]) -> None:
    """tifffile reads what is left of a file that was cut short, without a word."""
    size = path.stat().st_size
    ends = (
        start + length for page in pages for start, length in zip(page.dataoffsets, page.databytecounts, strict=False)
    )
    if max(ends, default=0) > size:
        raise UnreadableDatasetError(f"{path.name} was cut short: its pixels would lie behind its end. Copy it again.")


def _ome_pixels(xml: str) -> ElementTree.Element | None:
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:  # nothing in OME-XML needs them
        return None
    root = ElementTree.fromstring(xml)  # noqa: S314 - entities are refused above
    return next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)


def _ome_names(pixels: ElementTree.Element) -> tuple[str, ...]:
    channels = [element for element in pixels if element.tag.endswith("}Channel")]
    names = tuple(channel.get("Name", "") for channel in channels)
    return names if all(names) else ()


def _ome_mpp(pixels: ElementTree.Element) -> float | None:
    size, unit = pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm")
    return float(size) * _UNIT_UM[unit] if size and unit in _UNIT_UM else None


def _page_names(pages: list[Any]) -> tuple[str, ...]:
    """Names in the pages' own descriptions, as inForm writes its component images."""
    texts = [str(getattr(page, "description", "") or "") for page in (page.aspage() for page in pages)]
    found = [re.search(r"<Name>([^<]{1,100})</Name>", text) for text in texts]
    return tuple(match.group(1).strip() for match in found if match) if all(found) else ()


def _tag_mpp(page: Any) -> float | None:
    tags = page.aspage().tags
    if "XResolution" not in tags or "ResolutionUnit" not in tags:
        return None
    top, bottom = tags["XResolution"].value
    unit = _RESOLUTION_UM.get(int(tags["ResolutionUnit"].value))
    if unit is None or not top or not bottom:
        return None
    mpp = unit * bottom / top
    # 72 and 96 dots an inch are what programs write that know nothing.
    return mpp if mpp < 50 else None


def _open_zarr(path: Path) -> Multichannel:
    node = zarr.open(path, mode="r")
    attributes = dict(node.attrs)
    attributes = attributes.get("ome", attributes)
    array = node if isinstance(node, zarr.Array) else node["0"]
    assert isinstance(array, zarr.Array)
    five = array.ndim == 5  # time, channel, depth, row, column
    others = (array.shape[0], array.shape[2]) if five else array.shape[:-3]
    if array.ndim < 3 or any(size > 1 for size in others):
        raise UnreadableDatasetError(f"{path.name} is {array.shape}; a region has the axes (channel, row, column).")
    channels = array.shape[1] if five else array.shape[-3]
    omero = attributes.get("omero", {})
    names = tuple(str(channel.get("label", "")) for channel in omero.get("channels", []))

    def read(channel: int) -> NDArray[Any]:
        place: tuple[int, ...] = (0, channel, 0) if five else (*(0 for _ in others), channel)
        return np.asarray(array[place])

    return Multichannel(names, channels, array.shape[-2], array.shape[-1], _zarr_mpp(attributes), read)


def _zarr_mpp(attributes: dict[str, Any]) -> float | None:
    for scales in attributes.get("multiscales", []):
        unit = scales.get("axes", [{}])[-1].get("unit")
        for step in scales.get("datasets", [{}])[0].get("coordinateTransformations", []):
            if step.get("type") == "scale" and unit in _UNIT_UM:
                return float(step["scale"][-1]) * _UNIT_UM[unit]
    return None


def read_he(path: Path) -> tuple[NDArray[np.uint8], float | None]:
    """Read an H&E image whole: (h, w, 3) uint8 RGB, and micrometres per pixel where the file states it.

    Raises:
        UnreadableDatasetError: Not an 8-bit RGB image, too large, or damaged.
    """
    try:
        image, mpp = _read_he(path)
    except Exception as error:  # decoders have no common base of errors
        raise UnreadableDatasetError(f"{path.name} can't be read as an image ({type(error).__name__}).") from None
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8 or max(image.shape) > MAX_SIDE:
        raise UnreadableDatasetError(f"{path.name} is {image.shape} {image.dtype}, not an 8-bit RGB image.")
    return np.ascontiguousarray(image[:, :, :3]), mpp


def _read_he(path: Path) -> tuple[NDArray[Any], float | None]:
    if path.suffix.casefold() in (".svs", ".ndpi", ".mrxs", ".scn"):
        return _read_slide(path)
    if path.suffix.casefold() in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            ome = _ome_pixels(file.ome_metadata) if file.is_ome and file.ome_metadata else None
            mpp = (_ome_mpp(ome) if ome is not None else None) or _tag_mpp(series.pages[0])
            image = np.squeeze(series.asarray())
        return (np.moveaxis(image, 0, -1) if image.ndim == 3 and image.shape[0] in (3, 4) else image), mpp
    with Image.open(path) as picture:
        if max(picture.size) > MAX_SIDE:
            return np.empty((*picture.size, 0), np.uint8), None
        return np.asarray(picture.convert("RGB")), None


def _read_slide(path: Path) -> tuple[NDArray[np.uint8], float | None]:
    import openslide

    with openslide.OpenSlide(str(path)) as slide:
        if max(slide.dimensions) > MAX_SIDE:
            return np.empty((*slide.dimensions, 0), np.uint8), None
        mpp = slide.properties.get(openslide.PROPERTY_NAME_MPP_X)
        region = slide.read_region((0, 0), 0, slide.dimensions)
        white = Image.new("RGB", region.size, (255, 255, 255))
        white.paste(region, mask=region.getchannel("A"))
        return np.asarray(white), float(mpp) if mpp else None
