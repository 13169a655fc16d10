"""`report.html`: one file with everything inside, read offline and printed.

The template holds the words and the layout; this module gives it the result and the pictures. Every picture stands in
the file once, however often it is shown.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import numbers
from .cautions import cautions
from .colour import SCALE_LIMIT, colour_map, gradient
from .genes import GeneMaps, colour_of, expert_genes, gene_chapter, top_genes
from .heads import HeadMap, answer, metrics_in_words
from .heatmap import OPACITY, tile_extent
from .images import ReportImages, data_uri, in_grey, resized_to, webp
from .pages import render
from .plots import PLOT_WIDTH, axis_for, interval_plot
from .schema import Evidence, Neighbour, NeighbourMarker, Result
from .schema_spatial import SpotEvidence

_GREY_AT_MOST = 700
"""Long side of the grey overview below heatmaps, pixels."""

_TOP_MARKERS = 5
"""Measured markers named below a patch: those farthest from average."""

_SCALE_BARS_MM = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SCALE_BAR_SHARE = 0.22
"""The scale bar is the longest of these that takes at most this share of the picture's width."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A tile of the evidence as a square on the overview, in overview pixels, with its letter."""

    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A length on the overview.

    Attributes:
        pixels: In overview pixels.
        label: Such as '1 mm' or '200 µm'.
    """

    pixels: float
    label: str


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One tile with its neighbours.

    Attributes:
        label: Its letter on the overview.
        item: What the result says.
        picture: The H&E tile as a data address.
    """

    label: str
    item: Evidence
    picture: str


def render_report(
    result: Result,
    images: ReportImages,
    overview: NDArray[np.uint8],
    overlays: dict[str, bytes],
    head_overlays: Sequence[tuple[HeadMap, bytes]] = (),
    gene_maps: GeneMaps | None = None,
) -> str:
    """The report as HTML.

    Args:
        result: What was found; every number comes from it.
        images: Pictures of tiles and patches.
        overview: (h, w, 3) uint8 RGB, the overview as it is shown.
        overlays: PNG by marker, of the overview's size.
        head_overlays: The same for each map of a trained head.
        gene_maps: The same for genes and experts; None where the run has none.
    """
    axis = axis_for(result.biomarkers)
    patches = _patches(result)
    letters = _letters(result)
    scale = images.scale * images.overview.shape[1] / overview.shape[1]
    return render(
        "report.html",
        r=result,
        proteins=result.spatial is None or bool(result.biomarkers),
        genes=gene_chapter(result, images, gene_maps, letters),
        top_genes=top_genes,
        expert_genes=expert_genes,
        colour_of=colour_of,
        answer=answer,
        metrics=metrics_in_words,
        top_markers=top_markers,
        cautions=cautions(result),
        axis=axis,
        plot_width=PLOT_WIDTH,
        plots=[interval_plot(item, axis) for item in result.biomarkers],
        intervals=any(item.low is not None and item.high is not None for item in result.biomarkers),
        overview={"uri": data_uri(webp(overview)), "width": overview.shape[1], "height": overview.shape[0]},
        grey=data_uri(webp(in_grey(resized_to(overview, 1, _GREY_AT_MOST)))),
        overlays=[
            (item, data_uri(overlays[item.marker], "image/png"))
            for item in result.biomarkers
            if item.marker in overlays
        ],
        opacity=OPACITY,
        head_maps=[(item, data_uri(picture, "image/png")) for item, picture in head_overlays],
        ramp=gradient(colour_map()),
        ramp_limit=SCALE_LIMIT,
        marks=_marks(result, scale, letters),
        scale_bar=_scale_bar(result, scale, overview.shape[1]),
        rows=_rows(result, images, letters),
        patches=patches,
        composites=[
            (patches[name], data_uri(images.composites[name])) for name in patches if name in images.composites
        ],
        composite_legend=images.composite_legend,
        channel_markers=_channel_markers(result, images, patches),
        channels=_channels(result, images, patches),
    )


def top_markers(neighbour: Neighbour) -> list[NeighbourMarker]:
    """The markers that a patch measured farthest from average, the farthest first."""
    return sorted(neighbour.markers, key=lambda item: (-abs(item.z), item.marker))[:_TOP_MARKERS]


def _label(position: int) -> str:
    """A, B, … Z, AA, AB, …"""
    letters = string.ascii_uppercase
    return (
        letters[position] if position < len(letters) else _label(position // len(letters) - 1) + letters[position % 26]
    )


def _shown(result: Result) -> dict[int, Evidence | SpotEvidence]:
    """The tiles of all evidence, each once, by row of the tiles table."""
    spots = () if result.spatial is None else result.spatial.evidence
    shown: dict[int, Evidence | SpotEvidence] = {}
    for item in (*result.evidence, *spots):
        shown.setdefault(item.tile, item)
    return shown


def _letters(result: Result) -> dict[int, str]:
    """The letter of each shown tile, by row of the tiles table."""
    return {tile: _label(index) for index, tile in enumerate(_shown(result))}


def _marks(result: Result, scale: float, letters: dict[int, str]) -> list[Mark]:
    width, height = (side / scale for side in tile_extent(result))
    return [
        Mark(letters[tile], round(item.x / scale, 1), round(item.y / scale, 1), round(width, 1), round(height, 1))
        for tile, item in _shown(result).items()
    ]


def _scale_bar(result: Result, scale: float, width: int) -> ScaleBar:
    pixels_per_mm = 1000 / (result.slide.mpp_x * scale)
    fitting = [mm for mm in _SCALE_BARS_MM if mm * pixels_per_mm <= width * _SCALE_BAR_SHARE] or [_SCALE_BARS_MM[0]]
    longest = fitting[-1]
    label = f"{longest:g} mm" if longest >= 1 else f"{1000 * longest:g} µm"
    return ScaleBar(round(longest * pixels_per_mm, 1), label)


def _patches(result: Result) -> dict[str, str]:
    """Element identifiers of the patches, each once, by patch identifier."""
    names = dict.fromkeys(neighbour.patch for item in result.evidence for neighbour in item.neighbours)
    return {name: f"patch-{index}" for index, name in enumerate(names)}


def _rows(result: Result, images: ReportImages, letters: dict[int, str]) -> list[EvidenceRow]:
    return [EvidenceRow(letters[item.tile], item, data_uri(webp(images.tiles[item.tile]))) for item in result.evidence]


def _channel_markers(result: Result, images: ReportImages, patches: dict[str, str]) -> list[str]:
    """Markers for which some shown patch has a channel, in the order of the result."""
    shown = {marker for name in patches for marker in images.channels.get(name, {})}
    return [item.marker for item in result.biomarkers if item.marker in shown]


def _channels(result: Result, images: ReportImages, patches: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Channel pictures by patch element and marker, each with what was measured, ready to be shown."""
    measured = {
        neighbour.patch: {
            item.marker: f"z {numbers.signed(item.z)}, intensity {numbers.tenth(item.intensity)}"
            for item in neighbour.markers
        }
        for row in result.evidence
        for neighbour in row.neighbours
    }
    return {
        element: {
            marker: [data_uri(picture), measured[name].get(marker, "")]
            for marker, picture in images.channels.get(name, {}).items()
        }
        for name, element in patches.items()
    }
