"""A first look at the slide: where tissue is, whether it is H&E, and which tiles to read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import NoTissueError
from ..slide import Masks, Overview, Slide, Stain, TilePlan, check_stain, find_masks, plan_tiles, read_overview
from ..slide.overview import OVERVIEW_MPP

PICTURE_PIXELS = 1200
"""Pixels that the long side of the report's picture should have, about what a page shows."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first look found.

    Attributes:
        picture: The slide as the report shows it.
        stain: Whether it looks like H&E.
        plan: The tiles to read.
    """

    picture: Overview
    stain: Stain
    plan: TilePlan


def survey_slide(slide: Slide, *, size: int, mpp: float) -> Survey:
    """Look at the whole slide at low power, and plan its tiles.

    Args:
        slide: The open slide.
        size: Side of a tile in pixels, as the tower takes it.
        mpp: Micrometres per pixel of a tile.

    Raises:
        NoTissueError: No tile is left; says which filter took them.
        ResolutionTooCoarseError: The slide is too coarse for the tower.
    """
    overview = read_overview(slide)
    masks = find_masks(overview)
    stain = check_stain(overview, masks.tissue)
    try:
        plan = plan_tiles(slide.info, overview, _with_lost_places(masks, overview), size=size, mpp=mpp)
    except NoTissueError as error:
        if stain.looks_like in ("H&E", "unknown"):
            raise
        raise NoTissueError(f"{error} It does not look like H&E but like {stain.looks_like}: {stain.reason}.") from None
    return Survey(_take_picture(slide, overview), stain, plan)


def _with_lost_places(masks: Masks, overview: Overview) -> Masks:
    """The masks with what could not be read as tissue: its tiles are then planned, and listed as unreadable."""
    if not overview.lost:
        return masks
    tissue = masks.tissue.copy()
    for left, upper, right, lower in overview.lost:
        tissue[upper:lower, left:right] = True
    return replace(masks, tissue=tissue)


def _take_picture(slide: Slide, overview: Overview) -> Overview:
    """The overview, or a sharper one where the slide is so small that a reader would see only blocks."""
    finest = slide.info.levels[0]
    microns = max(finest.width, finest.height) * slide.info.resolution.mean
    if microns >= PICTURE_PIXELS * OVERVIEW_MPP:
        return overview
    return read_overview(slide, max(microns / PICTURE_PIXELS, slide.info.resolution.mean))
