"""Tissue, pen and folds on the overview.

Everything is judged in optical density, −log₁₀(value / glass), where stains add up (Beer–Lambert), relative to the
slide's own glass. Both H&E stains absorb green most: over 200 real H&E tiles blue is 0.5 to 0.7 of green and red at
most 0.9 of it. Glass, dust and shadows absorb all colours alike. Inks absorb red most (blue, green), all (black), or
green and blue alike but hardly red (red).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .overview import Overview

Colour = TypeVar("Colour", np.uint8, np.float32)

GLASS = 242
"""Grey level of bare glass where the overview shows too little of it to measure; scanners give 235 to 250."""

DARKEST_GLASS = 225
"""Glass is never taken for darker than this, so that pale tissue on a slide full of it isn't taken for glass."""

FAINTEST_TISSUE, SUREST_TISSUE = 0.04, 0.06
"""Bounds of Otsu's threshold, optical density. An empty slide isn't split below the first (dirt and shading of glass
stay under 0.03); one full of tissue isn't split into pale and dark tissue above the second (pale stroma has 0.1)."""

LEAST_COLOUR = 0.02
"""Least difference of optical density between colours for tissue; dust, shadows and the edge of the cover slip are
grey."""

CLOSING_UM = 32.0
"""Gaps narrower than this, µm, are bridged: clefts and capillaries belong to the tissue."""

SMALLEST_TISSUE_UM2 = 4_000.0
"""Smaller pieces, µm², are debris: a quarter of a 128 µm tile."""

SMALLEST_HOLE_UM2 = 20_000.0
"""Smaller holes, µm², are filled: lumens and fat cells belong to the tissue."""

SMALLEST_PEN_UM2 = 20_000.0
"""Smaller spots of ink's colour, µm², are pigment or blood; a pen's line is a millimetre wide."""

PEN_RIM_UM = 32.0
"""Ink spreads unseen this far, µm, beyond where its colour is plain."""

FOLD_RATIO = 1.8
"""Times the median density of the tissue around it: two layers on each other absorb twice as much (Beer–Lambert)."""

FOLD_AROUND_UM = 1_000.0
"""Side of the square, µm, over which that median is taken."""

FOLD_DENSITY = 0.6
"""Least optical density of a fold in green; two layers of pale stroma have less, but they are hard to tell from one
of muscle."""

FOLD_WIDTH_UM, FOLD_LENGTH_UM = 150.0, 400.0
"""A fold is narrower than the first and longer than the second, µm; dense glands and lymph follicles are not both."""

FOLD_RIM_UM, FOLD_BESIDE = 32.0, 0.6
"""Nine tenths of what lies within the first, µm, beside a fold must have this share of the usual density: a fold has
single layers on both sides, while keratin and clots in vessels, as dense and as long, lie beside glass."""

MOST_FOLDED = 0.1
"""Where more of the tissue than this looks folded, it is the tissue that is dense, and nothing is called a fold."""

BLACK = 20
"""An overview has a dark background, where ink and folds can't be judged, if the lowest colour of most pixels is
under this."""


STRIP_ROWS = 256
"""Rows of an overview whose colours are judged at a time."""


@dataclass(frozen=True, slots=True)
class Masks:
    """What lies where on an overview, each (h, w) bool.

    Attributes:
        tissue: Stained tissue that no ink covers.
        pen: Marker ink with its rim.
        folds: Tissue that lies double.
    """

    tissue: NDArray[np.bool_]
    pen: NDArray[np.bool_]
    folds: NDArray[np.bool_]


def find_masks(overview: Overview) -> Masks:
    """Tissue, pen and folds of one overview."""
    pen = find_pen(overview)
    tissue = _find_tissue(overview, pen)
    return Masks(tissue, pen, find_folds(overview, tissue))


def find_tissue(overview: Overview) -> NDArray[np.bool_]:
    """Where stained tissue lies that no ink covers.

    Optical density is smoothed, split by Otsu's threshold within bounds, asked for some colour, closed, and rid of
    debris and small holes.

    Args:
        overview: The whole slide at about 8 µm/px.

    Returns:
        (h, w) bool.
    """
    return _find_tissue(overview, find_pen(overview))


def find_pen(overview: Overview) -> NDArray[np.bool_]:
    """Where marker ink lies: blue, green, black or red, in colours that H&E doesn't have.

    Args:
        overview: The whole slide at about 8 µm/px.

    Returns:
        (h, w) bool, with the rim of the ink; nothing on a dark background.
    """
    plain = np.zeros(overview.image.shape[:2], bool)
    if is_dark(overview.image):
        return plain
    faint = np.zeros_like(plain)
    for rows, density in _smooth_density(overview.image):
        plain[rows], faint[rows] = _ink(density)
    ink = _drop_small(plain, SMALLEST_PEN_UM2 / overview.mpp**2)
    if not ink.any():
        return ink
    return _dilate(_touching(faint | ink, ink), PEN_RIM_UM / overview.mpp)


def find_folds(overview: Overview, tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where tissue lies double: long narrow ridges about twice as dense as the tissue around them.

    Cautious by design, since a fold left in costs a few odd tiles, and tissue taken for folds costs the case.

    Args:
        overview: The whole slide at about 8 µm/px.
        tissue: Its tissue, (h, w) bool.

    Returns:
        (h, w) bool, within the tissue.
    """
    folds = np.zeros(tissue.shape, bool)
    if not tissue.any() or is_dark(overview.image):
        return folds
    green = np.empty(tissue.shape, np.float32)
    for rows, density in _smooth_density(overview.image):
        green[rows] = density[:, :, 1]
    around = _median_around(green, tissue, FOLD_AROUND_UM / overview.mpp)
    dense = tissue & (green > FOLD_RATIO * around) & (green > FOLD_DENSITY)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(dense.astype(np.uint8))
    for label in range(1, count):
        x, y, width, height = (int(value) for value in boxes[label, :4])
        if np.hypot(width, height) * overview.mpp < FOLD_LENGTH_UM:
            continue
        rim = round(FOLD_RIM_UM / overview.mpp)
        inside = (slice(max(y - rim, 0), y + height + rim), slice(max(x - rim, 0), x + width + rim))
        piece = labels[inside] == label
        if _is_fold(piece, green[inside] / around[inside], overview.mpp):
            folds[inside] |= piece
    return folds if folds.sum() <= MOST_FOLDED * tissue.sum() else np.zeros(tissue.shape, bool)


def measure_glass(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The median of the bright grey pixels in each colour where there are enough of them, else a usual value, (3,)."""
    lowest, highest = _extremes(image)
    bright = ((lowest >= 200) & (highest - lowest <= 12)).astype(np.uint8)
    count = int(bright.sum())
    if count < 0.01 * bright.size:
        return np.full(3, float(GLASS))
    counts = [cv2.calcHist([image], [colour], bright, [256], [0, 256]).ravel().cumsum() for colour in range(3)]
    # Interpolated within its grey level, so that the same glass in another coding doesn't jump by a whole one.
    medians = [np.interp(count / 2, sums, np.arange(256) + 0.5) for sums in counts]
    return np.maximum(medians, DARKEST_GLASS)


def optical_density(pixels: NDArray[np.uint8], glass: NDArray[np.float64]) -> NDArray[np.float32]:
    """−log₁₀(value / glass) of each colour, 0 where brighter than glass (Beer–Lambert).

    Args:
        pixels: (h, w, 3) uint8 RGB.
        glass: (3,), the value of bare glass.

    Returns:
        (h, w, 3) float32.
    """
    # The 1 keeps the logarithm of black finite.
    table = np.maximum(-np.log10((np.arange(256)[None, :, None] + 1) / (glass + 1)), 0).astype(np.float32)
    return np.asarray(cv2.LUT(pixels, table))


def is_dark(image: NDArray[np.uint8]) -> bool:
    """Whether most pixels have a colour that is nearly black, as on the dark background of fluorescence."""
    lowest, _ = _extremes(image)
    return bool((lowest < BLACK).mean() > 0.5)


def _smooth_density(image: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Optical density of the smoothed picture, strip by strip: the whole would take four times the picture's memory."""
    glass, smooth = measure_glass(image), cv2.GaussianBlur(image, (0, 0), 1)
    for start in range(0, len(image), STRIP_ROWS):
        rows = slice(start, start + STRIP_ROWS)
        yield rows, optical_density(smooth[rows], glass)


def _find_tissue(overview: Overview, pen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`find_tissue` with the ink already known."""
    strongest, colour = np.empty((2, *pen.shape), np.float32)
    for rows, density in _smooth_density(overview.image):
        faintest, strongest[rows] = _extremes(density)
        colour[rows] = strongest[rows] - faintest
    threshold = np.clip(_otsu(strongest), FAINTEST_TISSUE, SUREST_TISSUE)
    mask = (strongest > threshold) & (colour > LEAST_COLOUR) & ~pen
    mask = _close(mask, CLOSING_UM / overview.mpp)
    mask = _drop_small(mask, SMALLEST_TISSUE_UM2 / overview.mpp**2)
    return _fill_holes(mask, SMALLEST_HOLE_UM2 / overview.mpp**2) & ~pen


def _extremes(pixels: NDArray[Colour]) -> tuple[NDArray[Colour], NDArray[Colour]]:
    """The lowest and the highest of the three colours of each pixel, each (h, w)."""
    red, green, blue = cv2.split(pixels)
    return cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)


def _ink(density: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the colour is plainly ink's, and where it may be ink that thins out or inks that mix, each (h, w)."""
    red, green, blue = cv2.split(density)
    cold = (red > 1.3 * green) & (red > green + 0.1)
    # Of a million real H&E pixels the reddest, blood, rarely have blue beyond 0.75 of green (300 of them); the brown of
    # immunohistochemistry has more blue than 1.15.
    warm = (green > 0.4) & (blue > 0.77 * green) & (blue < 1.15 * green) & (red < 0.55 * green)
    least, most = _extremes(density)
    # A value of 2 or less is no ink but what a scanner writes where it did not scan.
    black = (least > 0.6) & (least > 0.72 * most) & (least < 1.9)
    faint = ((red > 1.15 * green) & (red > green + 0.04)) | ((green > 0.15) & (blue > 0.75 * green))
    return cold | warm | black, faint


def _is_fold(piece: NDArray[np.bool_], ratio: NDArray[np.float32], mpp: float) -> bool:
    """Whether a dense piece is narrow and has single layers of tissue beside it; `ratio` is density over the usual."""
    depth = cv2.distanceTransform(np.pad(piece, 1).astype(np.uint8), cv2.DIST_L2, 5)
    if 2 * float(depth.max()) * mpp >= FOLD_WIDTH_UM:
        return False
    beside = _dilate(piece, FOLD_RIM_UM / mpp) & ~_dilate(piece, FOLD_RIM_UM / 2 / mpp)
    return bool(beside.any() and np.quantile(ratio[beside], 0.1) > FOLD_BESIDE)


def _otsu(density: NDArray[np.float32]) -> float:
    """Otsu's threshold, in the density's own unit; densities above 1 count as 1."""
    grey = cv2.convertScaleAbs(density, alpha=255)
    return float(cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]) / 255


def _median_around(values: NDArray[np.float32], tissue: NDArray[np.bool_], side: float) -> NDArray[np.float32]:
    """The median of the tissue in each square of a coarse grid, interpolated between squares, (h, w).

    A square with little tissue takes the median of the whole slide.
    """
    height, width = tissue.shape
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    coarse = np.full((rows, columns), np.median(values[tissue]), np.float32)
    for row, column in np.ndindex(rows, columns):
        square = (
            slice(row * height // rows, (row + 1) * height // rows),
            slice(column * width // columns, (column + 1) * width // columns),
        )
        inside = values[square][tissue[square]]
        if inside.size > side * side / 8:
            coarse[row, column] = np.median(inside)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))


def _disc(diameter: float) -> NDArray[np.uint8]:
    """A disc of about so many pixels across, odd and at least 1."""
    side = 2 * round(diameter / 2) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _close(mask: NDArray[np.bool_], width: float) -> NDArray[np.bool_]:
    """Bridge gaps narrower than `width` pixels."""
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(width)), bool)


def _dilate(mask: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Grow by `distance` pixels."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(2 * distance)), bool)


def _drop_small(mask: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    """Only the connected pieces of at least `area` pixels."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    keep = boxes[:, cv2.CC_STAT_AREA] >= area
    keep[0] = False
    return np.asarray(keep[labels])


def _fill_holes(mask: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    """Fill the holes of less than `area` pixels; what reaches the picture's edge is no hole."""
    framed = np.pad(mask, 1, constant_values=False)
    outside = np.zeros_like(framed)
    outside[0, 0] = True
    holes = ~framed & ~_touching(~framed, outside)
    return mask | (holes & ~_drop_small(holes, area))[1:-1, 1:-1]


def _touching(mask: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Only the connected pieces of the mask that hold a seed."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    keep = np.zeros(count, bool)
    keep[labels[seeds]] = True
    keep[0] = False
    return np.asarray(keep[labels])
