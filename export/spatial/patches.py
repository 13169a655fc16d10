"""Patches around spots, cut from the section's H&E as `predict` cuts its tiles."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import ResolutionTooCoarseError, UnreadableDatasetError
from haiku_edge.runtime.slide import Slide, SlideInfo, TileGrid, TilePlan, TileStream, round_half_up
from haiku_edge.runtime.slide.grid import MAXIMUM_ENLARGEMENT, choose_level

from .check import resolution
from .types import SpotSection

BATCH: Final = 64
"""Patches that are cut at once; four such batches are held."""

MOST_OUTSIDE: Final = 0.5
"""A section with more of its spots outside the image is refused: their places belong to another image."""


@dataclass(frozen=True, slots=True)
class PlacedSpots:
    """The spots of a section whose patches lie in the image.

    Attributes:
        section: With these spots alone, in bands across the image, each from left to right.
        plan: Where their patches lie, in the same order.
        outside: Number of spots that were left out.
    """

    section: SpotSection
    plan: TilePlan
    outside: int


def fine_enough(section: SpotSection, mpp: float) -> float:
    """Micrometres per level-0 pixel, once it is known that patches of `mpp` can be cut at that.

    Raises:
        MissingResolutionError: Not known.
        ResolutionTooCoarseError: The image would have to be enlarged more than `predict` enlarges slides.
    """
    own = resolution(section)
    if own > mpp * MAXIMUM_ENLARGEMENT:
        raise ResolutionTooCoarseError(
            f"The image of the section {section.section} has {own:.3g} µm per pixel, too coarse for patches of "
            f"{mpp:.3g}. Name the full-resolution image in the column image, or pass a coarser --mpp."
        )
    return own


def place_spots(section: SpotSection, info: SlideInfo, size: int, mpp: float) -> PlacedSpots:
    """Find the patches of a section that lie in the image whole.

    Args:
        section: Its places count in level-0 pixels of the image.
        info: Of the image.
        size: Side of a patch, pixels.
        mpp: Micrometres per pixel of a patch.

    Raises:
        MissingResolutionError, ResolutionTooCoarseError: See `fine_enough`.
        UnreadableDatasetError: More than half of the spots lie outside.
    """
    extent = size * mpp / fine_enough(section, mpp)
    origins = round_half_up(np.stack([section.x, section.y], axis=1).astype(np.float64) - extent / 2)
    whole = np.floor(np.array([info.levels[0].width, info.levels[0].height]) - extent + 0.5)
    inside = np.asarray(np.all((origins >= 0) & (origins <= whole), axis=1), bool)
    outside = int(len(inside) - inside.sum())
    if outside > MOST_OUTSIDE * len(inside):
        raise _outside(section, info, outside)
    bands = (origins[:, 1] // extent).astype(np.int64)
    order = np.lexsort((origins[:, 1], origins[:, 0], bands))
    order = order[inside[order]]
    grid = TileGrid(
        size,
        mpp,
        extent,
        (origins[order, 0] // extent).astype(np.int32),
        (bands[order] - bands[order].min()).astype(np.int32),
        origins[order].astype(np.int32),
        np.ones(len(order), np.float32),
        extent,
    )
    return PlacedSpots(_select(section, order), TilePlan(grid, choose_level(info, mpp), {}), outside)


def cut_patches(slide: Slide, plan: TilePlan, threads: int) -> Generator[NDArray[np.uint8]]:
    """The patches of a plan, one after another, each (size, size, 3) uint8 RGB and valid until the next.

    Raises:
        CorruptSlideError: One of them can't be read.
    """
    stream = TileStream(slide, plan, batch_size=BATCH, threads=threads, unreadable_share=0.0)
    with stream, closing(iter(stream)) as batches:
        for batch in batches:
            yield from batch.tiles


def _select(section: SpotSection, rows: NDArray[np.int64]) -> SpotSection:
    return replace(
        section,
        spots=section.spots[rows],
        x=section.x[rows],
        y=section.y[rows],
        counts=section.counts[rows],
    )


def _outside(section: SpotSection, info: SlideInfo, outside: int) -> UnreadableDatasetError:
    level = info.levels[0]
    return UnreadableDatasetError(
        f"{outside} of {len(section.spots)} spots outside the image: the section {section.section} has places up to "
        f"({section.x.max():.0f}, {section.y.max():.0f}), and its image is {level.width} × {level.height} pixels. Name "
        "the image that the places count in, at its full resolution."
    )
