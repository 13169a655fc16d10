"""Retrieval: from a query to the nearest items of the bundle, and to what is written of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..engine import survey_devices
from ..errors import UsageError
from ..report.retrieval import RetrievalImages, composite
from ..report.retrieval_schema import FoundItem, QuerySection, RetrievalResult
from ..report.schema import NeighbourMarker
from ..version import product
from .clock import StageClock
from .describe import describe_bundle
from .gallery import BundleGallery, open_gallery
from .query import Query

MOST_FOUND = 1000
_LEGEND_ROWS = 100
"""Patches that are asked for the colours of their markers where no patch is shown."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """What was found, and how it looks.

    Attributes:
        result: The content of `retrieval.json`.
        images: Pictures for the page.
    """

    result: RetrievalResult
    images: RetrievalImages


def look_up(
    bundle: Bundle, ask: Callable[[Bundle], Query], to: str, *, top: int = 10, excluded: tuple[str, ...] = ()
) -> LookUp:
    """Find what is nearest to a query.

    Args:
        bundle: The bundle.
        ask: Makes the query; called once the gallery is open, so that a refusal comes before the work.
        to: Modality to search: he, mif or text.
        top: How many to find.
        excluded: Pseudonyms of patients who may not be found: a patient's own patches are no finding.

    Raises:
        UsageError: `to` or `top` means nothing, or a patient is not in the bundle.
        BundleContentError: The bundle lacks a tower, or stores no vectors of that modality.
    """
    if not 1 <= top <= MOST_FOUND:
        raise UsageError(f"--top must lie between 1 and {MOST_FOUND}, not {top}.")
    clock = StageClock()
    with clock.stage("open gallery"):
        gallery = open_gallery(bundle, to, excluded)
    with clock.stage("embed query"):
        query = ask(bundle)
    with clock.stage("search"):
        rows, scores = gallery.search(query.vector, top)
    result = RetrievalResult(
        product=product(),
        bundle=describe_bundle(bundle),
        device=query.device or next(report.reason for report in survey_devices() if report.kind == "cpu"),
        query=QuerySection(
            modality=query.modality, of=query.of, markers=list(query.markers), warnings=list(query.warnings)
        ),
        to=gallery.modality,
        gallery=gallery.of,
        exclude_patients=list(excluded),
        found=[_item(gallery, rank, int(row), float(score)) for rank, (row, score) in _ranked(rows, scores)],
        timing={**clock.seconds, "total": clock.total()},
    )
    return LookUp(result, _images(gallery, query, rows))


def _ranked(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> enumerate[tuple[np.int64, np.float32]]:
    return enumerate(zip(rows, scores, strict=True), start=1)


def _item(gallery: BundleGallery, rank: int, row: int, similarity: float) -> FoundItem:
    return FoundItem(
        rank=rank,
        item=str(gallery.names[row]),
        patient=str(gallery.patients[row]),
        section=str(gallery.sections[row]) or None,
        organ=str(gallery.organs[row]) or None,
        similarity=similarity,
        markers=_measured(gallery, row),
    )


def _measured(gallery: BundleGallery, row: int) -> list[NeighbourMarker]:
    z, atlas = gallery.z[row], gallery.atlas
    order = [int(m) for m in np.argsort(-np.abs(z), kind="stable") if np.isfinite(z[m])]
    return [
        NeighbourMarker(marker=gallery.markers[m], intensity=float(atlas.mean[m] + z[m] * atlas.std[m]), z=float(z[m]))
        for m in order
    ]


def _images(gallery: BundleGallery, query: Query, rows: NDArray[np.int64]) -> RetrievalImages:
    pictures = gallery.atlas.pictures
    # Only what is shown is asked for: an atlas may hold millions of patches.
    shows = gallery.modality == "mif"
    patches = rows.tolist() if shows else range(min(len(gallery.atlas.patches), _LEGEND_ROWS))
    entries = {entry.marker: entry for row in patches for entry in pictures.legend(row)}
    colours = {name: _rgb(entry.colour) for name, entry in entries.items()}
    found = {}
    if shows:
        found = {str(gallery.names[row]): pictures.composite(row) for row in patches if pictures.legend(row)}
    shown = query.pixels
    if shown is not None and query.modality == "mif":
        ranges = {name: (entry.black, entry.white) for name, entry in entries.items()}
        shown = composite(shown, query.markers, colours, ranges)
    legend = tuple(colours.items()) if found or query.modality == "mif" else ()
    return RetrievalImages(shown, found, legend)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
