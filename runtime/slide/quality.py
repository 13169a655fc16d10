"""Sharpness of a tile's own pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BLURRED_BELOW = 0.4
"""Least sharpness of a tile in focus. Of 210 real H&E tiles in focus the least sharp measures 1.0 and the median 4.1;
blurred by a Gaussian of 2 pixels (1 µm at 0.5 µm/px) their median is 0.5, by 3 pixels 0.24. Tiles that a pathologist
would still read are kept."""

NEUTRAL_SHARPNESS = 1.5
"""What a tile without contrast measures: one can't tell, so it is not called blurred."""

NEUTRAL_VARIANCE = 4.0
"""Grey levels²; contrast (a standard deviation of 2 grey levels) at which the neutral value and the measured one
weigh the same, below the contrast of the palest stroma and above the noise of JPEG."""

FINE, COARSE = 4, 16
"""Pixels of the squares whose means bound the contrast that the detail is measured against: with 0.5 µm/px,
structures of 2 to 8 µm, which is nuclei and fibres, and which a lens slightly out of focus keeps while it loses what
is finer."""


def measure_sharpness(tile: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian, relative to the tile's contrast in structures a few times larger.

    The variance of the Laplacian alone calls pale stroma blurred and a blurred tile with a dark edge sharp, because
    it grows with contrast; relative to the contrast between `FINE` and `COARSE` squares it does not depend on stain
    or density. Computed on luminance at half the resolution, where the noise of JPEG is averaged out.

    Args:
        tile: (h, w, 3) uint8 RGB at the tower's resolution; `h` and `w` at least 16.

    Returns:
        A ratio, 0 (blurred) upwards.
    """
    half = _shrink(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY), 2)
    # The mean of a Laplacian is next to 0, so its mean square is its variance, at a tenth of the time.
    detail = cv2.norm(cv2.Laplacian(half, cv2.CV_16S), cv2.NORM_L2SQR) / half.size
    fine = _shrink(half, FINE // 2)
    contrast = max(_variance(fine) - _variance(_shrink(fine, COARSE // FINE)), 0.0)
    return (detail + NEUTRAL_VARIANCE * NEUTRAL_SHARPNESS) / (contrast + NEUTRAL_VARIANCE)


def is_blurred(sharpness: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which tiles are out of focus, (n,); unreadable ones (NaN) are not."""
    return np.asarray(sharpness < BLURRED_BELOW)


def _shrink(grey: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The means of squares of `factor` pixels."""
    size = (max(grey.shape[1] // factor, 1), max(grey.shape[0] // factor, 1))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))


def _variance(values: NDArray[np.generic]) -> float:
    """The variance of all values."""
    return float(cv2.meanStdDev(values)[1][0, 0]) ** 2
