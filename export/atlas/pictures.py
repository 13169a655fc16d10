"""The pictures of mIF patches: one false-colour composite and one small grey picture a marker, small enough to ship.

A patch's pictures have a budget of about 12 kB, so that the evidence of 1,000 patches with 18 markers stays near 12 MB.
Shrinking by area averages the detector's noise away, which is also what WebP would spend most of its bytes on.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from haiku_edge.runtime.errors import UsageError

COMPOSITE_SIDE = 128
"""Side of a composite, pixels."""

CHANNEL_SIDE = 64
"""Side of a single channel's picture, pixels."""

COMPOSITE_QUALITY = 45
CHANNEL_QUALITY = 30
"""WebP qualities, 0 to 100; measured on sparse noisy patches against the budget."""

COMPOSITE_CHANNELS = 6
"""Most markers in one composite: more colours can't be told apart."""

BLACK_PERCENTILE = 30
"""Percentile of a marker's pixels, over all patches that measured it, that is shown as black: the background."""

WHITE_PERCENTILE = 99.8
"""Percentile that is shown at full brightness."""

_LEAST_RANGE = 16

PALETTE = {
    "DAPI": "#3c5aff",
    "PANCK": "#00c83c",
    "CD8": "#ff3030",
    "CD20": "#ffd200",
    "CD68": "#ff8a00",
    "SMA": "#00d2d2",
    "CD3": "#ff3cc8",
    "CD31": "#b478ff",
    "CD4": "#ffa0a0",
    "KI67": "#ffffff",
    "VIMENTIN": "#8cb4a0",
}
"""Colour by marker, those that should be in a composite first; lymphocytes warm, epithelium green, nuclei blue."""

_ALIASES = {
    "DNA": "DAPI",
    "HOECHST": "DAPI",
    "PANCYTOKERATIN": "PANCK",
    "CYTOKERATIN": "PANCK",
    "CK": "PANCK",
    "ASMA": "SMA",
    "ACTA2": "SMA",
    "CD8A": "CD8",
    "CD3E": "CD3",
    "MS4A1": "CD20",
}
_FALLBACK = ("#3c5aff", "#00c83c", "#ff3030")


@dataclass(frozen=True, slots=True)
class PatchPictures:
    """The encoded pictures of one patch.

    Attributes:
        composite: WebP.
        channels: One WebP a marker, empty where it was not measured.
    """

    composite: bytes
    channels: tuple[bytes, ...]


def composite_colours(markers: tuple[str, ...]) -> dict[str, str]:
    """Which markers a composite shows and in which colour, '#rrggbb', in the palette's order.

    Where the palette knows none of the markers, the first three are shown in blue, green and red.
    """
    plain = {marker: _plain(marker) for marker in markers}
    known = {marker: colour for name, colour in PALETTE.items() for marker in markers if plain[marker] == name}
    chosen = known or dict(zip(markers, _FALLBACK, strict=False))
    return dict(list(chosen.items())[:COMPOSITE_CHANNELS])


def display_ranges(patches: Iterable[NDArray[np.uint8]], measured: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The intensities of each marker that are shown as black and at full brightness, the same for every patch.

    Args:
        patches: n of (m, h, w) uint8.
        measured: (n, m), where a patch's panel measured a marker.

    Returns:
        (m, 2) float32; 0 and 255 for a marker that no patch measured.
    """
    histogram = np.zeros((measured.shape[1], 256), np.int64)
    for patch, known in zip(patches, measured, strict=True):
        for marker in np.flatnonzero(known):
            histogram[marker] += np.bincount(_shrink(patch[marker], CHANNEL_SIDE).ravel(), minlength=256)
    black = _percentile(histogram, BLACK_PERCENTILE)
    white = np.maximum(_percentile(histogram, WHITE_PERCENTILE), black + _LEAST_RANGE)
    unmeasured = histogram.sum(axis=1) == 0
    return np.stack([np.where(unmeasured, 0, black), np.where(unmeasured, 255, white)], axis=1).astype(np.float32)


def _percentile(histogram: NDArray[np.int64], percentile: float) -> NDArray[np.int64]:
    """(m,) least intensity that at least `percentile` per cent of each row's pixels do not exceed."""
    total = histogram.sum(axis=1, keepdims=True)
    below: NDArray[np.int64] = (np.cumsum(histogram, axis=1) < total * (percentile / 100)).sum(axis=1)
    return below


def encode_patch(
    patch: NDArray[np.uint8],
    measured: NDArray[np.bool_],
    *,
    colours: Mapping[int, str],
    ranges: NDArray[np.float32],
) -> PatchPictures:
    """Encode one patch.

    Args:
        patch: (m, h, w) uint8, raw intensities.
        measured: (m,) which markers count.
        colours: Row of `patch` → '#rrggbb' in the composite.
        ranges: (m, 2) intensities shown as black and at full brightness.
    """
    shown = {marker: colour for marker, colour in colours.items() if measured[marker]}
    composite = render_composite(patch, shown, ranges)
    channels = tuple(
        _webp(_brighten(_shrink(channel, CHANNEL_SIDE), ends), CHANNEL_QUALITY) if known else b""
        for channel, ends, known in zip(patch, ranges, measured, strict=True)
    )
    return PatchPictures(_webp(composite, COMPOSITE_QUALITY), channels)


def render_composite(
    patch: NDArray[np.uint8], colours: Mapping[int, str], ranges: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """(128, 128, 3) uint8 RGB: the sum of the channels' colours by their brightness, cut off at white."""
    light = np.zeros((COMPOSITE_SIDE, COMPOSITE_SIDE, 3), np.float32)
    for marker, colour in colours.items():
        bright = _brighten(_shrink(patch[marker], COMPOSITE_SIDE), ranges[marker])
        light += bright[:, :, None] * (np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / np.float32(255))
    return np.minimum(light, 255).astype(np.uint8)


def _shrink(channel: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if channel.dtype != np.uint8 or channel.ndim != 2:
        raise UsageError(f"A channel is {channel.dtype} {channel.shape}; patches are uint8 (markers, height, width).")
    return np.asarray(cv2.resize(channel, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _brighten(channel: NDArray[np.uint8], ends: NDArray[np.float32]) -> NDArray[np.uint8]:
    bright = (channel.astype(np.float32) - ends[0]) * (255 / (ends[1] - ends[0]))
    shown: NDArray[np.uint8] = np.clip(bright + 0.5, 0, 255).astype(np.uint8)
    return shown


def _webp(image: NDArray[np.uint8], quality: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "WEBP", quality=quality, method=4)
    return sink.getvalue()


def _plain(marker: str) -> str:
    name = re.sub(r"[^A-Z0-9]", "", marker.upper().replace("α", "A"))
    return _ALIASES.get(name, name)
