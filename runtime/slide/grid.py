"""Where the tiles lie: the best level, a grid without drift, and which of its tiles are worth reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import NoTissueError, ResolutionTooCoarseError
from .names import DICOM_FORMAT
from .overview import Overview
from .tissue import Masks
from .types import SlideInfo

TISSUE_SHARE = 0.2
"""A tile needs this share of tissue. Below a fifth the tower sees mostly glass; asking for half would lose thin
biopsies and rims."""

PEN_SHARE = 0.1
"""A tile with more ink than this is left out: ink lies over the tissue and shifts its colours, and blurs beyond its
rim."""

FOLD_SHARE = 0.25
"""A tile with more fold than this is left out; a thin crease that crosses a tile leaves most of it as it was."""

MAXIMUM_ENLARGEMENT = 1.5
"""Beyond this, enlarging invents the detail that the tower was trained to read."""

SCALE_TOLERANCE = 0.01
"""Scales nearer than this to a whole number are that number: scanners state their pixel size no better than to a
percent, and 0.499 µm/px is read as 0.5 by a plain copy instead of a resampling that would only soften it."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where the tiles of one slide lie.

    Attributes:
        size: Side of a tile in pixels, as the tower takes it.
        mpp: Micrometres per pixel at which a tile is read.
        extent: Width of a tile in level-0 pixels, size · mpp / (horizontal µm per level-0 pixel).
        columns: (n,) int32, column of each tile on the grid.
        rows: (n,) int32, row of each tile on the grid.
        origins: (n, 2) int32, top-left corners (x, y) in level-0 pixels, row by row; x = column · extent, halves
            rounded up.
        tissue: (n,) float32, share of each tile that is tissue, 0 to 1.
        extent_y: Height of a tile in level-0 pixels; differs from `extent` where pixels are not square.
    """

    size: int
    mpp: float
    extent: float
    columns: NDArray[np.int32]
    rows: NDArray[np.int32]
    origins: NDArray[np.int32]
    tissue: NDArray[np.float32]
    extent_y: float

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.columns)


@dataclass(frozen=True, slots=True)
class TilePlan:
    """Which tiles are read, and from which level.

    Attributes:
        grid: The tiles.
        level: Index of the level that they are cut from.
        counts: Tiles on the whole `grid`, and how many of them each filter took: `background`, `pen`, `fold`.
    """

    grid: TileGrid
    level: int
    counts: dict[str, int]


def plan_tiles(info: SlideInfo, overview: Overview, masks: Masks, *, size: int, mpp: float) -> TilePlan:
    """Lay a grid of tiles without overlap over the slide and keep those with tissue, no pen and no fold.

    A tile that would leave the slide is not on the grid. A tile is counted for the first filter that takes it, in the
    order background, pen, fold.

    Args:
        info: The slide.
        overview: Its overview, for the scale of the masks.
        masks: Tissue, pen and folds on the overview.
        size: Side of a tile in pixels, as the tower takes it.
        mpp: Micrometres per pixel that the tower takes.

    Raises:
        ResolutionTooCoarseError: The slide would have to be enlarged more than `MAXIMUM_ENLARGEMENT`.
        NoTissueError: No tile is left; the message says which filter took how many.
    """
    level = choose_level(info, mpp)
    extents = (size * mpp / info.resolution.x, size * mpp / info.resolution.y)
    columns, rows = _whole_grid(info, extents)
    origins = np.column_stack([round_half_up(columns * extents[0]), round_half_up(rows * extents[1])]).astype(np.int32)
    boxes = np.column_stack([origins, origins + extents]) / overview.scale
    tissue, pen, fold = (_shares(mask, boxes) for mask in (masks.tissue, masks.pen, masks.folds))
    inked = pen > PEN_SHARE
    covered = np.where(inked, _shares(masks.tissue | masks.pen, boxes), tissue)
    taken = {"background": covered < TISSUE_SHARE, "pen": inked, "fold": fold > FOLD_SHARE}
    keep = np.ones(len(columns), bool)
    counts = {"grid": len(columns)}
    for name, mask in taken.items():
        counts[name] = int((keep & mask).sum())
        keep &= ~mask
    if not keep.any():
        raise NoTissueError(_explain(info, counts))
    grid = TileGrid(size, mpp, extents[0], columns[keep], rows[keep], origins[keep], tissue[keep], extents[1])
    return TilePlan(grid, level, counts)


def choose_level(info: SlideInfo, mpp: float) -> int:
    """The coarsest level that is still as fine as `mpp`, so that tiles are shrunk as little as possible.

    Returns:
        Index into `info.levels`; 0 where the slide is a little coarser than `mpp` and must be enlarged.

    Raises:
        ResolutionTooCoarseError: Level 0 would have to be enlarged more than `MAXIMUM_ENLARGEMENT`.
    """
    coarser = max(info.resolution.x, info.resolution.y)
    if coarser > mpp * MAXIMUM_ENLARGEMENT:
        raise ResolutionTooCoarseError(_too_coarse(info, coarser, mpp))
    fine = [i for i, level in enumerate(info.levels) if coarser * level.downsample <= mpp * (1 + SCALE_TOLERANCE)]
    return max(fine, key=lambda i: info.levels[i].downsample, default=0)


def round_half_up(values: ArrayLike) -> NDArray[np.int64]:
    """Level-0 coordinates as whole pixels: halves go up, in the same direction everywhere on the slide.

    This is how the grid rounds; whoever works out a corner of a tile again (a report, a viewer) must round like it.

    Args:
        values: Coordinates in pixels, of any shape; `column * extent` for the left edge of a column.

    Returns:
        int64, of the same shape.
    """
    return np.floor(np.asarray(values) + 0.5).astype(np.int64)


def source_size(info: SlideInfo, plan: TilePlan) -> tuple[int, int]:
    """Width and height, in pixels of the plan's level, that one tile is cut from before it is resized."""
    downsample = info.levels[plan.level].downsample
    return (
        _snap(plan.grid.extent / downsample, plan.grid.size),
        _snap(plan.grid.extent_y / downsample, plan.grid.size),
    )


def source_origins(info: SlideInfo, plan: TilePlan) -> NDArray[np.int64]:
    """Top-left corners of the tiles in pixels of the plan's level, (n, 2), each rounded on its own so that none drifts.

    A tile that rounding would push over the level's edge is moved back by that pixel.
    """
    level = info.levels[plan.level]
    limit = np.subtract((level.width, level.height), source_size(info, plan))
    return np.maximum(np.minimum(round_half_up(plan.grid.origins / level.downsample), limit), 0)


def _snap(length: float, size: int) -> int:
    """The length in whole pixels, a multiple of the tile's size where it is within the tolerance of one."""
    factor = max(1, round(length / size))
    near = abs(length / (factor * size) - 1) <= SCALE_TOLERANCE
    return factor * size if near else max(1, round(length))


def _whole_grid(info: SlideInfo, extents: tuple[float, float]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Columns and rows of every tile that lies wholly on the slide, row by row, each (n,) int32."""
    level = info.levels[0]
    across, down = (_fitting(side, extent) for side, extent in zip((level.width, level.height), extents, strict=True))
    rows, columns = np.divmod(np.arange(across * down, dtype=np.int32), np.int32(max(across, 1)))
    return columns, rows


def _fitting(side: int, extent: float) -> int:
    """How many tiles fit; a millionth of a tile is forgiven, for extents such as 768.0000001."""
    return int(side / extent + 1e-6)


def _shares(mask: NDArray[np.bool_], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """The share of each box (left, upper, right, lower, in pixels of the mask, fractions allowed) that is set, (n,)."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    sums[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    left, upper, right, lower = boxes.T
    inside = _at(sums, lower, right) - _at(sums, upper, right) - _at(sums, lower, left) + _at(sums, upper, left)
    area = (right - left) * (lower - upper)
    return np.asarray((inside / area).clip(0, 1), np.float32)


def _at(sums: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A summed-area table at fractional places; linear between pixels, which is exact for a mask of whole pixels."""
    y, x = y.clip(0, sums.shape[0] - 1), x.clip(0, sums.shape[1] - 1)
    i, j = np.minimum(y.astype(int), sums.shape[0] - 2), np.minimum(x.astype(int), sums.shape[1] - 2)
    v, u = y - i, x - j
    upper = sums[i, j] * (1 - u) + sums[i, j + 1] * u
    lower = sums[i + 1, j] * (1 - u) + sums[i + 1, j + 1] * u
    return np.asarray(upper * (1 - v) + lower * v)


def _too_coarse(info: SlideInfo, finest: float, mpp: float) -> str:
    """Why a slide can't be used at `mpp`.

    Coarse DICOM has most likely lost its finest instance. Another --mpp would not bring that back; it
    would give false scales.
    """
    remedy = (
        "the full-resolution instance of the DICOM series may be missing: export all of its instances; if they are "
        "all there, rescan at a higher magnification."
        if info.format == DICOM_FORMAT
        else "rescan at a higher magnification, or pass --mpp if the stated resolution is wrong."
    )
    return (
        f"{info.name} has {finest:.3g} µm per pixel at its finest, but the H&E tower takes {mpp:.3g} µm/px. "
        f"Enlarging more than {MAXIMUM_ENLARGEMENT} times would invent detail; {remedy}"
    )


def _explain(info: SlideInfo, counts: dict[str, int]) -> str:
    """Why no tile is left."""
    if not counts["grid"]:
        level = info.levels[0]
        return (
            f"{info.name} ({level.width} × {level.height} pixels) is smaller than one tile: nothing to predict on. "
            "Scan a larger area, or check the resolution (--mpp)."
        )
    return (
        f"No tile with usable tissue is left on {info.name}: of {counts['grid']} tiles, {counts['background']} are "
        f"background, {counts['pen']} lie under pen marks and {counts['fold']} on folds. "
        "Check that it is the H&E slide you meant; if pen took them, clean and rescan it."
    )
