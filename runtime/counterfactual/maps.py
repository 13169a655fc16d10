"""Maps of tiles: one pixel a tile, drawn large by the page, so that fifty maps weigh nothing."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..report.colour import HATCH, colour_map
from ..slide import TileGrid

LIMITS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Round ends of the scale of differences; one for all markers of a slide, so that maps compare."""

NICHE_COLOURS: Final = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (120, 120, 120),
)
"""RGB that readers with colour-blindness can tell apart (M. Okabe and K. Ito, 2008)."""

_PERCENTILE: Final = 98

Floats = NDArray[np.float64]


def difference_limit(differences: Floats) -> float:
    """The least round end of the scale that holds all but the largest differences."""
    known = np.abs(differences[np.isfinite(differences)])
    reach = float(np.percentile(known, _PERCENTILE)) if len(known) else 0.0
    return next((limit for limit in LIMITS if limit >= reach), LIMITS[-1])


def paint_difference(values: Floats, limit: float) -> NDArray[np.uint8]:
    """(n, 4) uint8 RGBA: blue where less, orange where more; grey where nothing is known."""
    return _coloured(values, (np.clip(values / limit, -1, 1) + 1) / 2, colour_map())


def paint_prevalence(values: Floats) -> NDArray[np.uint8]:
    """(n, 4) uint8 RGBA: near-white at 0 to orange-brown at 1; grey where nothing is known."""
    colours = colour_map()
    return _coloured(values, np.clip(values, 0, 1), colours[len(colours) // 2 :])


def paint_niches(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(n, 4) uint8 RGBA by niche."""
    rgb = np.array(NICHE_COLOURS, np.uint8)[labels % len(NICHE_COLOURS)]
    return np.concatenate([rgb, np.full((len(rgb), 1), 255, np.uint8)], axis=1)


def grid_png(colours: NDArray[np.uint8], grid: TileGrid, rows: NDArray[np.int64]) -> bytes:
    """A PNG with one pixel a tile of the whole grid, transparent where there is none.

    Args:
        colours: (n, 4) uint8 of the tiles that are painted.
        grid: Where all tiles lie.
        rows: (n,) which tiles of the grid they are.
    """
    canvas = np.zeros((int(grid.rows.max()) + 1, int(grid.columns.max()) + 1, 4), np.uint8)
    canvas[grid.rows, grid.columns] = (*HATCH[0], 255)
    canvas[grid.rows[rows], grid.columns[rows]] = colours
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, "PNG")
    return stream.getvalue()


def _coloured(values: Floats, shares: Floats, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    known = np.isfinite(values)
    index = np.rint(np.where(known, shares, 0) * (len(colours) - 1)).astype(np.int64)
    rgba = np.full((len(values), 4), 255, np.uint8)
    rgba[:, :3] = np.where(known[:, None], colours[index], HATCH[1])
    return rgba
