"""`report.html` of a counterfactual: one file with everything inside, in the style of the prediction's report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..report.colour import colour_map, gradient
from ..report.images import data_uri, in_grey, resized_to, webp
from ..report.pages import render
from .case import Case
from .maps import NICHE_COLOURS, difference_limit, grid_png, paint_difference, paint_niches, paint_prevalence
from .schema import CounterfactualResult, MarkerChange, ShownTile

MAPPED: Final = 12
"""Markers with maps: those that change most."""

PLOT_WIDTH: Final = 200
_OVERVIEW: Final = (700, 900)
"""Bounds of the long side of the overview, pixels."""

_ROOM: Final = 1.08
_LEAST_REACH: Final = 0.005
_TICKS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class MapSet:
    """The three maps of one marker, as data addresses."""

    marker: str
    before: str
    after: str
    difference: str
    change: float | None


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the grid of tiles lies on the overview, in overview pixels."""

    width: int
    height: int
    grid_width: float
    grid_height: float
    bar: float
    bar_label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A symmetric axis in prevalence, one for all markers."""

    limit: float

    def x(self, value: float) -> float:
        """Position in units of the drawing."""
        return round(PLOT_WIDTH / 2 * (1 + value / self.limit), 1)

    @property
    def ticks(self) -> tuple[tuple[float, float], ...]:
        """(position, value) left, middle and right."""
        step = max((tick for tick in _TICKS if tick <= self.limit * 0.8), default=_TICKS[0])
        return tuple((self.x(value), value) for value in (-step, 0.0, step))


@dataclass(frozen=True, slots=True)
class Plot:
    """Where one marker's marks lie on the axis; None where there is nothing to draw."""

    value: float | None
    low: float | None
    high: float | None
    random_low: float | None
    random_high: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One shown tile with its picture."""

    item: ShownTile
    picture: str


def render_page(result: CounterfactualResult, case: Case, pixels: dict[int, NDArray[np.uint8]]) -> str:
    """The report as HTML.

    Args:
        result: What was found; every number comes from it.
        case: For maps and pictures.
        pixels: H&E of the shown tiles.
    """
    overview = resized_to(case.survey.picture.image, *_OVERVIEW)
    differences = case.analysis.after - case.analysis.before
    limit, axis = difference_limit(differences), _axis(result)
    return render(
        "counterfactual.html",
        r=result,
        tint=tint,
        frame=_frame(case, overview),
        overview=data_uri(webp(overview)),
        grey=data_uri(webp(in_grey(overview))),
        maps=_maps(result, case, limit),
        limit=limit,
        niche_map=data_uri(
            grid_png(paint_niches(case.analysis.niches.labels), case.survey.plan.grid, case.judged.used), "image/png"
        ),
        niche_colours=[f"rgb({red} {green} {blue})" for red, green, blue in NICHE_COLOURS],
        ramp=gradient(colour_map()),
        half_ramp=gradient(colour_map()[125:]),
        axis=axis,
        plot_width=PLOT_WIDTH,
        plots=[_plot(item, axis) for item in result.markers],
        rows=[Row(item, data_uri(webp(pixels[item.tile]))) for item in result.evidence],
        composites=_composites(result, case),
        niche_limit=max([abs(c.difference or 0.0) for n in result.niches for c in n.markers], default=0.0) or 1.0,
    )


def _axis(result: CounterfactualResult) -> Axis:
    drawn = [
        abs(value)
        for item in result.markers
        for value in (item.difference, item.low, item.high, item.random_low, item.random_high)
        if value is not None
    ]
    return Axis(_ROOM * max([_LEAST_REACH, *drawn]))


def _plot(item: MarkerChange, axis: Axis) -> Plot:
    def place(value: float | None) -> float | None:
        return None if value is None else axis.x(value)

    return Plot(*map(place, (item.difference, item.low, item.high, item.random_low, item.random_high)))


def _frame(case: Case, overview: NDArray[np.uint8]) -> Frame:
    grid, picture = case.survey.plan.grid, case.survey.picture
    scale_x = picture.scale * picture.image.shape[1] / overview.shape[1]
    scale_y = picture.scale * picture.image.shape[0] / overview.shape[0]
    columns, rows = int(grid.columns.max()) + 1, int(grid.rows.max()) + 1
    per_mm = 1000 / (case.info.resolution.x * scale_x)
    bar = max((mm for mm in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if mm * per_mm <= 0.3 * overview.shape[1]), default=0.1)
    return Frame(
        width=overview.shape[1],
        height=overview.shape[0],
        grid_width=round(columns * grid.extent / scale_x, 2),
        grid_height=round(rows * grid.extent_y / scale_y, 2),
        bar=round(bar * per_mm, 1),
        bar_label=f"{bar:g} mm",
    )


def _maps(result: CounterfactualResult, case: Case, limit: float) -> list[MapSet]:
    places = {marker: m for m, marker in enumerate(case.model.atlas.markers)}
    before, after = case.analysis.before, case.analysis.after
    grid, used = case.survey.plan.grid, case.judged.used

    def draw(colours: NDArray[np.uint8]) -> str:
        return data_uri(grid_png(colours, grid, used), "image/png")

    return [
        MapSet(
            item.marker,
            draw(paint_prevalence(before[:, places[item.marker]])),
            draw(paint_prevalence(after[:, places[item.marker]])),
            draw(paint_difference((after - before)[:, places[item.marker]], limit)),
            item.difference,
        )
        for item in result.markers[:MAPPED]
        if item.difference is not None
    ]


def _composites(result: CounterfactualResult, case: Case) -> dict[str, str]:
    """Patch → its false-colour picture, each once."""
    atlas = case.model.atlas
    shown = {patch.patch for tile in result.evidence for patch in (*tile.went, *tile.came)}
    return {
        str(name): data_uri(atlas.pictures.composite(row)) for row, name in enumerate(atlas.patches) if name in shown
    }


def tint(share: float | None, limit: float) -> str:
    """The colour of a difference for a cell of a table."""
    if share is None or not math.isfinite(share):
        return "transparent"
    red, green, blue = paint_difference(np.array([share]), limit)[0, :3]
    return f"rgb({red} {green} {blue})"
