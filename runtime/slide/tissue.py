"""Tissue, pen and folds on the overview.

Everything is judged in optical density, −log₁₀(value / glass), where stains add up (Beer–Lambert), relative to the slide's own
glass. Both H&E stains absorb green most: over 200 real H&E tiles blue is 0.5 to 0.7 of green and red at most 0.9 of it. Glass,
dust and shadows absorb all colours alike. Inks absorb red most (blue, green), all (black), or green and blue alike but hardly
red (red).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .overview import Overview

GLASS = 242
"""Grey level of bare glass where the overview shows too little of it to measure; scanners give 235 to 250."""

DARKEST_GLASS = 225
"""Glass is never taken for darker than this, so that pale tissue on a slide full of it isn't taken for glass."""

FAINTEST_TISSUE, SUREST_TISSUE = 0.04, 0.06
"""Bounds of Otsu's threshold, optical density. An empty slide isn't split below the first (dirt and shading of glass stay under
0.03); one full of tissue isn't split into pale and dark tissue above the second (pale stroma has 0.1)."""

LEAST_COLOUR = 0.02
"""Least difference of optical density between colours for tissue; dust, shadows and the edge of the cover slip are grey."""

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
"""Least optical density of a fold in green; two layers of pale stroma have less, but they are hard to tell from one of muscle."""

FOLD_WIDTH_UM, FOLD_LENGTH_UM = 150.0, 400.0
"""A fold is narrower than the first and longer than the second, µm; dense glands and lymph follicles are not both."""

MOST_FOLDED = 0.1
"""Where more of the tissue than this looks folded, it is the tissue that is dense, and nothing is called a fold."""

BLACK = 20
"""Median of the darkest colour below which an overview has a dark background, where ink and folds can't be judged."""


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
    tissue = find_tissue(overview)
    return Masks(tissue, find_pen(overview), find_folds(overview, tissue))


def find_tissue(overview: Overview) -> NDArray[np.bool_]:
    """Where stained tissue lies that no ink covers.

    Optical density is smoothed, split by Otsu's threshold within bounds, asked for some colour, closed, and rid of debris and
    small holes.

    Args:
        overview: The whole slide at about 8 µm/px.

    Returns:
        (h, w) bool.
    """
    density = cv2.GaussianBlur(optical_density(overview.image), (0, 0), 1)
    strongest, faintest = density.max(2), density.min(2)
    threshold = np.clip(_otsu(strongest), FAINTEST_TISSUE, SUREST_TISSUE)
    pen = find_pen(overview)
    mask = (strongest > threshold) & (strongest - faintest > LEAST_COLOUR) & ~pen
    mask = _close(mask, CLOSING_UM / overview.mpp)
    mask = _drop_small(mask, SMALLEST_TISSUE_UM2 / overview.mpp**2)
    return _fill_holes(mask, SMALLEST_HOLE_UM2 / overview.mpp**2) & ~pen


def find_pen(overview: Overview) -> NDArray[np.bool_]:
    """Where marker ink lies: blue, green, black or red, in colours that H&E doesn't have.

    Args:
        overview: The whole slide at about 8 µm/px.

    Returns:
        (h, w) bool, with the rim of the ink; nothing on a dark background.
    """
    if is_dark(overview.image):
        return np.zeros(overview.image.shape[:2], bool)
    red, green, blue = cv2.split(cv2.GaussianBlur(optical_density(overview.image), (0, 0), 1))
    cold = (red > 1.3 * green) & (red > green + 0.1)
    # Diaminobenzidine, the brown of immunohistochemistry, absorbs blue more than this and red ink less.
    warm = (green > 0.4) & (blue > 0.75 * green) & (blue < 1.15 * green) & (red < 0.55 * green)
    least, most = cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)
    # A value of 2 or less is no ink but what a scanner writes where it did not scan.
    black = (least > 0.6) & (least > 0.72 * most) & (least < 1.9)
    # Where ink thins out or two inks mix, only what touches plain ink counts.
    pale = ((red > 1.15 * green) & (red > green + 0.04)) | ((green > 0.15) & (blue > 0.75 * green))
    ink = _drop_small(cold | warm | black, SMALLEST_PEN_UM2 / overview.mpp**2)
    return _dilate(_touching(pale | ink, ink), PEN_RIM_UM / overview.mpp)


def find_folds(overview: Overview, tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where tissue lies double: long narrow ridges about twice as dense as the tissue around them.

    Cautious by design, since a fold left in costs a few odd tiles, and tissue taken for folds costs the case.

    Args:
        overview: The whole slide at about 8 µm/px.
        tissue: Its tissue, (h, w) bool.

    Returns:
        (h, w) bool, within the tissue.
    """
    none = np.zeros(tissue.shape, bool)
    if not tissue.any() or is_dark(overview.image):
        return none
    green = cv2.GaussianBlur(optical_density(overview.image)[:, :, 1], (0, 0), 1)
    around = _median_around(green, tissue, FOLD_AROUND_UM / overview.mpp)
    dense = tissue & (green > FOLD_RATIO * around) & (green > FOLD_DENSITY)
    folds = none
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(dense.astype(np.uint8))
    depth = cv2.distanceTransform(np.pad(dense, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    for label in range(1, count):
        x, y, width, height = (int(value) for value in boxes[label, :4])
        if np.hypot(width, height) * overview.mpp < FOLD_LENGTH_UM:
            continue
        inside = (slice(y, y + height), slice(x, x + width))
        piece = labels[inside] == label
        if 2 * float(depth[inside][piece].max()) * overview.mpp < FOLD_WIDTH_UM:
            folds[inside] |= piece
    return folds if folds.sum() <= MOST_FOLDED * tissue.sum() else np.zeros(tissue.shape, bool)


def optical_density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """−log₁₀(value / glass) of each colour, 0 where brighter than glass (Beer–Lambert), (h, w, 3) float32.

    Glass is the median of the bright grey pixels where there are enough of them, else a usual value.
    """
    bright = (image.min(2) >= 200) & (image.max(2) - image.min(2) <= 12)
    enough = bright.mean() > 0.01
    glass = np.maximum(np.median(image[bright], axis=0), DARKEST_GLASS) if enough else np.full(3, float(GLASS))
    # One row of the table for each colour; the 1 keeps the logarithm of black finite.
    table = np.maximum(-np.log10((np.arange(256)[None] + 1) / (glass[:, None] + 1)), 0).astype(np.float32)
    return np.stack([table[colour][image[:, :, colour]] for colour in range(3)], axis=2)


def is_dark(image: NDArray[np.uint8]) -> bool:
    """Whether the picture's background is dark, as in fluorescence: most pixels have a colour that is nearly black."""
    return bool(np.median(image.min(2)) < BLACK)


def _otsu(density: NDArray[np.float32]) -> float:
    """Otsu's threshold, in the density's own unit."""
    grey = np.clip(density * 255, 0, 255).astype(np.uint8)
    return float(cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]) / 255


def _median_around(
    values: NDArray[np.float32], tissue: NDArray[np.bool_], side: float
) -> NDArray[np.float32]:
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
