"""The pictures that a report shows, and how they are put into it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PHOTO_QUALITY = 85
"""WebP quality for H&E: no visible loss at the size at which the report shows it."""


@dataclass(frozen=True, slots=True)
class ReportImages:
    """Pixels for the outputs; all that is not in the result or the tiles table.

    Attributes:
        overview: (h, w, 3) uint8 RGB picture of the slide.
        scale: Level-0 pixels per overview pixel.
        tiles: H&E pixels, (s, s, 3) uint8 RGB, by row of the tiles table; one for each tile of `Result.evidence`.
        composites: False-colour picture of an mIF patch (WebP) by patch identifier.
        channels: Grey pictures (WebP) by patch identifier and marker; a marker that was not measured has none.
        composite_legend: (marker, (red, green, blue)) of the false colours, empty where they are not known.
        spots: H&E of a spot (WebP) by its identifier.
    """

    overview: NDArray[np.uint8]
    scale: float
    tiles: dict[int, NDArray[np.uint8]]
    composites: dict[str, bytes]
    channels: dict[str, dict[str, bytes]]
    composite_legend: tuple[tuple[str, tuple[int, int, int]], ...] = field(default=())
    spots: dict[str, bytes] = field(default_factory=dict)


def resized_to(image: NDArray[np.uint8], shortest: int, longest: int) -> NDArray[np.uint8]:
    """The picture with its long side brought between two bounds.

    Args:
        image: (h, w, 3) uint8.
        shortest: Least length of the long side, pixels.
        longest: Greatest length of it, pixels.

    Returns:
        (h', w', 3) uint8 of the same proportions, to the pixel.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    factor = min(max(side, shortest), longest) / side
    if factor == 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)


def in_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB picture (h, w, 3) uint8 without its colours, in the same shape."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def webp(image: NDArray[np.uint8]) -> bytes:
    """An RGB picture (h, w, 3) uint8 as WebP."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=_PHOTO_QUALITY, method=4)
    return stream.getvalue()


def data_uri(content: bytes, media_type: str = "image/webp") -> str:
    """A picture as a `data:` address, which needs no file and no network."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
