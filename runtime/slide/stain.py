"""Whether the slide is H&E at all: the towers know nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from .overview import Overview
from .tissue import is_dark, measure_glass, optical_density

H_AND_E: Final = "H&E"
IHC: Final = "IHC"
FLUORESCENCE: Final = "fluorescence"
UNKNOWN: Final = "unknown"

STAINED = 0.1
"""Optical density from which a pixel's colour says something about its stain."""

MAGENTA_SHARE = 0.6
"""Least share of stained pixels that absorb green most, for H&E; the palest of 200 real H&E tiles together have 0.9."""

BROWN_SHARE = 0.02
"""Share of stained pixels in the brown of diaminobenzidine from which a slide is called IHC; H&E has none but for
pigment."""

PLAIN_BROWN = 0.15
"""Optical density in green from which brown is plain: paler rims of tissue take its colour from the lens."""

BLUE_SHARE = 0.5
"""Share of stained pixels in plain haematoxylin, without eosin, from which a slide is called IHC with little or no
brown."""


@dataclass(frozen=True, slots=True)
class Stain:
    """What a slide is stained with, as far as its colours tell.

    Attributes:
        looks_like: What the colours are like; 'unknown' where they tell nothing.
        reason: One sentence with the measurement behind it.
    """

    looks_like: Literal["H&E", "IHC", "fluorescence", "unknown"]
    reason: str


def check_stain(overview: Overview, tissue: NDArray[np.bool_]) -> Stain:
    """Tell H&E from other stains by what the tissue absorbs.

    Eosin and haematoxylin together absorb green most; diaminobenzidine absorbs blue most; haematoxylin alone absorbs
    red as much as green; fluorescence has a dark background.

    Args:
        overview: The whole slide at about 8 µm/px.
        tissue: Its tissue, (h, w) bool.
    """
    if is_dark(overview.image):
        median = float(np.median(overview.image.min(2)))
        return Stain(FLUORESCENCE, f"The background is dark (median {median:.0f} of 255), as in fluorescence.")
    if not tissue.any():
        return Stain(UNKNOWN, "There is no tissue to tell the stain by.")
    density = optical_density(overview.image[tissue][:, None], measure_glass(overview.image))[:, 0]
    red, green, blue = density[density.max(1) > STAINED].T
    if not len(green):
        return Stain(UNKNOWN, "There is too little stained tissue to tell the stain by.")
    brown = float(np.mean((green > PLAIN_BROWN) & (blue > 0.9 * green) & (blue > 1.1 * red) & (red > 0.3 * green)))
    magenta = float(np.mean((green > 1.1 * red) & (green > 1.1 * blue)))
    blueish = float(np.mean((red > 0.93 * green) & (blue < red)))
    if brown >= BROWN_SHARE:
        return Stain(IHC, f"{brown:.0%} of the tissue is brown, as with diaminobenzidine in immunohistochemistry.")
    if blueish >= BLUE_SHARE:
        return Stain(IHC, f"{blueish:.0%} of the tissue is blue without eosin, as in the counterstain of IHC.")
    if magenta >= MAGENTA_SHARE:
        return Stain(H_AND_E, f"{magenta:.0%} of the tissue is pink to purple, as in H&E.")
    return Stain(UNKNOWN, f"Only {magenta:.0%} of the tissue is pink to purple, as it is in H&E.")
