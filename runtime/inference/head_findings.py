"""What the bundle's trained heads say about a slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..report.schema import HeadClass, HeadFinding, Risk
from ..slide import TileGrid
from .head_graph import HeadGraph, HeadOutput
from .head_risk import place_risk
from .heads import Head
from .probabilities import ClassCalibration, calibrate_classes

LEAST_TILES = 6
"""Readable tiles below which a slide is no bag: attention over fewer says what one or two tiles look like."""

COVERAGE = 0.9
CLASS_METHOD = (
    "bias-corrected temperature scaling, and split conformal sets by patient, on out-of-fold predictions of the "
    "head's own training patients"
)
RISK_METHOD = (
    "rank among the out-of-fold risks of the head's own training patients, resampled together with the slide's tiles; "
    "Cox slope and Breslow baseline on these patients, resampled"
)
NOT_A_COHORT_OF_ITS_OWN = (
    "Calibrated on the cross-validation of the head's own training patients, not on patients of another site."
)


BEYOND = "The risk lies beyond that of every training patient, where their follow-up tells nothing."


@dataclass(frozen=True, slots=True)
class SlideVectors:
    """What heads read.

    Attributes:
        he: (n, d) float32 vectors of the readable tiles.
        text: (d,) float32 vector of the notes, or None.
        tiles: (n,) int64 rows of the plan.
        blocks: (n,) int64, which block of neighbouring tiles each belongs to: what is resampled together.
    """

    he: NDArray[np.float32]
    text: NDArray[np.float32] | None
    tiles: NDArray[np.int64]
    blocks: NDArray[np.int64]

    def features(self, kind: str) -> NDArray[np.float32]:
        """(n, d) H&E vectors, or (n, 2d) with the notes' beside each."""
        if kind == "he" or self.text is None:
            return self.he
        return np.concatenate([self.he, np.broadcast_to(self.text, self.he.shape)], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class HeadResult:
    """One head's answer.

    Attributes:
        finding: What the result says.
        columns: Name → (n,) float32, one value a tile that it read: attention or probabilities of classes.
    """

    finding: HeadFinding
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


BLOCK_TILES = 4
"""Side of a block in tiles: cells of one gland or one vessel lie in one block, so blocks are nearly independent."""


def tile_blocks(grid: TileGrid, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the blocks of the grid that tiles lie in."""
    places = np.stack([grid.columns[tiles] // BLOCK_TILES, grid.rows[tiles] // BLOCK_TILES], axis=1)
    return np.asarray(np.unique(places, axis=0, return_inverse=True)[1].reshape(-1), np.int64)


def ask_heads(
    heads: tuple[Head, ...],
    slide: SlideVectors,
    excluded: tuple[str, ...],
    refusal: str | None,
    *,
    never: str | None = None,
) -> tuple[HeadResult, ...]:
    """Ask each head, or say why it is not asked.

    Args:
        heads: The bundle's heads.
        slide: The slide's vectors.
        excluded: Pseudonyms that --exclude-patient names.
        refusal: Why nothing at all is said about the slide, or None.
        never: Why no head is asked about any slide, or None.

    Raises:
        BundleContentError: A head's graph is not usable.
        EngineError: A head failed.
    """
    return tuple(_ask(head, slide, never or _why_not(head, slide, excluded, refusal)) for head in heads)


def _why_not(head: Head, slide: SlideVectors, excluded: tuple[str, ...], refusal: str | None) -> str | None:
    if np.isin(head.patients, np.asarray(excluded, np.str_)).any():
        return "it was trained on a patient that --exclude-patient names, and would know the answer"
    if head.section.features == "he+text" and slide.text is None:
        return "it reads clinical notes, and none were given"
    if head.section.kind != "tile_classifier" and len(slide.he) < LEAST_TILES:
        return f"the slide has {len(slide.he)} readable tiles, and at least {LEAST_TILES} are needed"
    return refusal


def _ask(head: Head, slide: SlideVectors, refusal: str | None) -> HeadResult:
    if refusal is not None:
        return HeadResult(_finding(head, len(slide.he), status="refused", reason=refusal))
    graph, features = HeadGraph(head), slide.features(head.section.features)
    output = graph(features)
    if head.section.kind == "survival":
        risk = place_risk(head, output, lambda rows: float(graph(features[rows]).scores[0, 0]), slide.blocks, COVERAGE)
        return _with_attention(head, output, risk=risk)
    cases = head.cases
    calibration = calibrate_classes(cases.scores, cases.labels, cases.patients, COVERAGE)
    probabilities = calibration.scaling(output.scores)
    if head.section.kind == "slide_classifier":
        return _with_attention(head, output, classes=_slide_classes(head, probabilities, calibration))
    columns = {
        column(head, name): probabilities[:, i].astype(np.float32) for i, name in enumerate(head.section.classes)
    }
    return HeadResult(_finding(head, len(probabilities), classes=_tile_classes(head, probabilities)), columns)


def column(head: Head, what: str) -> str:
    """Name of a head's column in `tiles.parquet`."""
    return f"head_{head.section.name}_{what}"


def _slide_classes(head: Head, probabilities: NDArray[np.float64], calibration: ClassCalibration) -> list[HeadClass]:
    members = calibration.members(probabilities)[0]
    return [
        HeadClass(name=name, probability=float(p), in_set=bool(member), tiles=None)
        for name, p, member in zip(head.section.classes, probabilities[0], members, strict=True)
    ]


def _tile_classes(head: Head, probabilities: NDArray[np.float64]) -> list[HeadClass]:
    likeliest = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    means = probabilities.mean(axis=0)
    return [
        HeadClass(name=name, probability=float(p), in_set=None, tiles=int(number))
        for name, p, number in zip(head.section.classes, means, likeliest, strict=True)
    ]


def _with_attention(
    head: Head, output: HeadOutput, *, classes: list[HeadClass] | None = None, risk: Risk | None = None
) -> HeadResult:
    weights = output.attention
    if weights is None:
        raise AssertionError("a slide head has attention")
    carried = np.cumsum(np.sort(weights)[::-1])
    half = int(np.searchsorted(carried, carried[-1] / 2)) + 1
    finding = _finding(head, len(weights), classes=classes or [], risk=risk, half_of_attention=half)
    if risk is not None and not 0 < risk.percentile < 100:
        finding = finding.model_copy(update={"warnings": [*finding.warnings, BEYOND]})
    return HeadResult(finding, {column(head, "attention"): weights.astype(np.float32)})


def _finding(head: Head, tiles: int, **said: object) -> HeadFinding:
    section = head.section
    stated = {
        "name": section.name,
        "kind": section.kind,
        "target": section.target,
        "features": section.features,
        "status": "predicted",
        "reason": None,
        "tiles": tiles,
        "classes": [],
        "risk": None,
        "half_of_attention": None,
        "coverage": COVERAGE,
        "patients": len(head.patients),
        "method": RISK_METHOD if section.kind == "survival" else CLASS_METHOD,
        "metrics": dict(section.metrics),
        "warnings": [NOT_A_COHORT_OF_ITS_OWN],
    }
    return HeadFinding.model_validate(stated | said)
