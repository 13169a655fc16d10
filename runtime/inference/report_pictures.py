"""The pictures that go into the report: of the slide, of its tiles, and of the evidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from ..report import ReportImages
from .evidence import ChosenTile
from .findings import AllFindings
from .retrieve import Retrieved
from .spade_result import MOST_SPOTS_A_TILE
from .survey import Survey
from .tiles import TileResults


def report_images(survey: Survey, pixels: dict[int, NDArray[np.uint8]], findings: AllFindings) -> ReportImages:
    """Gather them.

    Args:
        survey: Has the overview.
        pixels: Row of the plan → (s, s, 3) uint8 of the tiles that are shown.
        findings: Name the evidence.
    """
    haiku, spade, families = findings.haiku, findings.spade, findings.families
    composites: dict[str, bytes] = {}
    channels: dict[str, dict[str, bytes]] = {}
    legend: dict[str, str] = {}
    if haiku is not None and families.haiku is not None:
        atlas = families.haiku.atlas
        patches = _evidence(haiku.chosen, haiku.tiles, haiku.found)
        composites = {str(atlas.patches[i]): atlas.pictures.composite(i) for i in patches}
        channels = {str(atlas.patches[i]): _channels(atlas, i) for i in patches}
        legend = {entry.marker: entry.colour for i in patches for entry in atlas.pictures.legend(i)}
    spots: dict[str, bytes] = {}
    if spade is not None and families.spade is not None:
        atlas = families.spade.atlas
        shown = _evidence(spade.chosen, spade.tiles, spade.found, MOST_SPOTS_A_TILE)
        spots = {str(atlas.patches[i]): atlas.pictures.composite(i) for i in shown}
    return ReportImages(
        overview=survey.picture.image,
        scale=survey.picture.scale,
        tiles=pixels,
        composites=composites,
        channels=channels,
        composite_legend=tuple((marker, _rgb(colour)) for marker, colour in legend.items()),
        spots=spots,
    )


def _evidence(
    chosen: tuple[ChosenTile, ...], tiles: TileResults, found: Retrieved, most: int | None = None
) -> list[int]:
    """Rows of the atlas that speak for the chosen tiles, in order; of each tile the `most` best."""
    rows = [tiles.row_of[tile.tile] for tile in chosen]
    return sorted({int(i) for row in rows for i in found.ids[row][:most] if i >= 0})


def _channels(atlas: Atlas, patch: int) -> dict[str, bytes]:
    return {name: atlas.pictures.channel(patch, name) for name in atlas.pictures.channels(patch)}


def _rgb(colour: str) -> tuple[int, int, int]:
    """'#rrggbb' as three numbers."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
