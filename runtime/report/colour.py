"""The colours of a heatmap: from blue (less) over near-white (average) to orange-brown (more).

The map is built in Oklab (B. Ottosson, 2020, "A perceptual color space for image processing"), where equal distances
look equally different. Each half is a straight line in it, so equal steps of z look like equal steps of colour. Blue
against orange stays apart for readers with red-green colour-blindness, and lightness falls equally on both sides, so
that a grey print shows distance from average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCALE_LIMIT = 1.5
"""z at which colours saturate. Fixed, so that heatmaps of different markers and slides can be compared. A prediction is
a mean over several patches, which lies nearer to zero than single patches do: 1.5 leaves few tiles beyond the ends."""

HATCH = ((214, 216, 219), (150, 154, 160))
"""Both stripes, RGB, of a tile without an estimate: greys that the map does not hold."""

_STOPS = 25
"""Colours of a CSS gradient, which blends what lies between them."""

_STEPS = 251
"""Number of colours; odd, so that z = 0 has one of its own."""

_CENTRE = (0.965, 0.0, 0.0)
_LOW = (0.42, -0.035, -0.125)
_HIGH = (0.50, 0.085, 0.1)
"""Oklab coordinates (lightness, green-red, blue-yellow) of the middle and of both ends."""

_LAB_TO_LMS = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
"""Ottosson's matrices: Oklab to the cube roots of cone responses, and cone responses to linear sRGB."""


def _oklab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    linear = np.clip((lab @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255), dtype=np.uint8)


def colour_map() -> NDArray[np.uint8]:
    """The colours from `-SCALE_LIMIT` to `SCALE_LIMIT`.

    Returns:
        (251, 3) uint8 RGB; row 125 is z = 0.
    """
    share = np.linspace(0, 1, _STEPS // 2 + 1)[:, None]
    centre, low, high = (np.array(point) for point in (_CENTRE, _LOW, _HIGH))
    below = low + share * (centre - low)
    above = centre + share * (high - centre)
    return _oklab_to_srgb(np.concatenate([below, above[1:]]))


def colour_index(z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Rows of `colour_map` for finite values in z; beyond the limit the end colours stand."""
    position = (np.clip(z, -SCALE_LIMIT, SCALE_LIMIT) / SCALE_LIMIT + 1) / 2 * (_STEPS - 1)
    return np.rint(position).astype(np.uint8)


def gradient(colours: NDArray[np.uint8]) -> str:
    """Colours, (n, 3) uint8 RGB, as the stops of a CSS gradient."""
    stops = colours[:: max(1, len(colours) // _STOPS)]
    return ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in stops.tolist())
