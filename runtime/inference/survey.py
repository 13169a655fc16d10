"""A first look at the slide: where tissue is, whether it is H&E, and which tiles to read."""

from __future__ import annotations

from dataclasses import dataclass

from ..slide import (
    Masks,
    Overview,
    Slide,
    Stain,
    TilePlan,
    check_stain,
    find_folds,
    find_pen,
    find_tissue,
    plan_tiles,
    read_overview,
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first look found.

    Attributes:
        overview: The slide at low power.
        stain: Whether it looks like H&E.
        plan: The tiles to read.
    """

    overview: Overview
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
    tissue = find_tissue(overview)
    masks = Masks(tissue=tissue, pen=find_pen(overview), folds=find_folds(overview, tissue))
    return Survey(overview, check_stain(overview, tissue), plan_tiles(slide.info, overview, masks, size=size, mpp=mpp))
