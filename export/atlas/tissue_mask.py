"""Where tissue lies, seen by its nuclei.

The published mask is a neural network on DAPI whose weights are not published. This one needs none: nuclei are what is
brighter than Otsu's threshold, tissue is what lies near a nucleus. Tissue with few nuclei, such as fat, is lost.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SCALE_UM = 1.0
"""Micrometres per pixel at which nuclei are sought: about eight pixels across."""

BLUR_UM = 1.5
SPECK_UM = 2.0
"""Bright spots narrower than this are no nuclei."""

REACH_UM = 25.0
"""How far tissue reaches from a nucleus: the distance over which cells share a capillary's surroundings is larger."""

LEAST_STRUCTURE = 0.35
"""Least share of the standard deviation that is left after blurring. Noise of single pixels keeps 0.19, nuclei most."""


def tissue_mask(dapi: NDArray[Any], mpp: float) -> NDArray[np.bool_]:
    """Find tissue on the DAPI channel.

    Args:
        dapi: (h, w) intensities of any type.
        mpp: Micrometres per pixel.

    Returns:
        (h, w) bool; nowhere True where no nucleus stands out from the noise.
    """
    height, width = dapi.shape
    size = (max(1, round(width * mpp / SCALE_UM)), max(1, round(height * mpp / SCALE_UM)))
    small = cv2.resize(dapi.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), BLUR_UM / SCALE_UM)
    if float(blurred.std()) < LEAST_STRUCTURE * float(small.std()):
        return np.zeros((height, width), np.bool_)
    nuclei = cv2.morphologyEx(_bright(blurred), cv2.MORPH_OPEN, _disc(SPECK_UM / 2))
    near = cv2.dilate(nuclei, _disc(REACH_UM))
    # Back to the outline of the outermost nuclei's cells, so that glass does not count.
    tissue = cv2.erode(near, _disc(REACH_UM / 2), borderValue=255)
    return np.asarray(cv2.resize(tissue, (width, height), interpolation=cv2.INTER_NEAREST) > 0)


def _bright(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Otsu's threshold on the square roots, in which the noise of counts is the same everywhere."""
    roots = np.sqrt(np.maximum(image, 0))
    top = float(roots.max())
    if top <= 0:
        return np.zeros(image.shape, np.uint8)
    scaled = np.round(roots * (65535 / top)).astype(np.uint16)
    threshold, _ = cv2.threshold(scaled, 0, 65535, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return (scaled > threshold).astype(np.uint8) * 255


def _disc(radius_um: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_um / SCALE_UM)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
