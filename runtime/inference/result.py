"""Puts a run's findings into the words and numbers of `result.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..report.schema import (
    Result,
    SlideSection,
    TilesSection,
    UnreadableTile,
)
from ..version import product
from .calibration import ABSTENTION_RATE, Calibration
from .describe import describe_bundle, describe_device, describe_slide, student_warnings
from .evidence import ChosenTile, gather_evidence
from .head_findings import HeadResult
from .retrieve import Retrieved
from .summarise import LEAST_SUPPORTED_SHARE, describe_calibration, summarise, supported_share
from .tiles import TileResults

if TYPE_CHECKING:
    from ..slide import SlideInfo
    from .case_notes import CaseNotes
    from .clock import StageClock
    from .embed import EmbeddedTiles
    from .model import Model
    from .options import PredictOptions
    from .survey import Survey

# Five times what ordinary tissue has: the slide as a whole is then unlike what the intervals were calibrated on.
_STRANGE_SHARE = 5 * ABSTENTION_RATE


@dataclass(frozen=True, slots=True)
class Findings:
    """What retrieval and inference found.

    Attributes:
        tiles: Every tile of the plan.
        table: The same as the table that is written.
        found: Neighbours with the notes, for the readable tiles.
        chosen: Tiles to show.
        heads: What the bundle's trained heads say.
        calibration: Intervals of the prediction with notes.
        calibration_alone: Intervals of the prediction without notes.
    """

    tiles: TileResults
    table: pa.Table
    found: Retrieved
    chosen: tuple[ChosenTile, ...]
    heads: tuple[HeadResult, ...]
    calibration: Calibration
    calibration_alone: Calibration


def assemble_result(
    info: SlideInfo,
    digest: str,
    survey: Survey,
    notes: CaseNotes,
    model: Model,
    options: PredictOptions,
    embedded: EmbeddedTiles,
    findings: Findings,
    clock: StageClock,
) -> Result:
    """Make the result of a run; everything that the report shows comes from here."""
    tiles, atlas = findings.tiles, model.atlas
    named = tuple(notes.section.markers_named)
    section = describe_slide(info, digest, survey)
    return Result(
        product=product(),
        bundle=describe_bundle(model.bundle),
        device=describe_device(model),
        slide=section,
        tiles=_describe_tiles(survey, embedded, tiles),
        notes=notes.section,
        parameters=_parameters(model, options),
        calibration=describe_calibration(findings.calibration),
        biomarkers=summarise(atlas, tiles, findings.calibration, findings.calibration_alone, named),
        evidence=gather_evidence(findings.chosen, tiles, findings.found, atlas, findings.calibration),
        heads=[head.finding for head in findings.heads],
        warnings=_warnings(model, section, notes, tiles, embedded, findings.calibration),
        timing={**clock.seconds, "total": clock.total()},
    )


def _describe_tiles(survey: Survey, embedded: EmbeddedTiles, tiles: TileResults) -> TilesSection:
    grid, counts = survey.plan.grid, survey.plan.counts
    return TilesSection(
        size=grid.size,
        mpp=grid.mpp,
        level=survey.plan.level,
        extent=grid.extent,
        grid=counts["grid"],
        background=counts["background"],
        pen=counts["pen"],
        fold=counts["fold"],
        blur=int((tiles.status == "blur").sum()),
        unreadable=len(embedded.unreadable),
        predicted=int((tiles.status == "predicted").sum()),
        abstained=int((tiles.status == "abstained").sum()),
        unreadable_tiles=[
            UnreadableTile(x=int(grid.origins[tile, 0]), y=int(grid.origins[tile, 1]), reason=reason)
            for tile, reason in sorted(embedded.unreadable.items())
        ],
    )


def _parameters(model: Model, options: PredictOptions) -> dict[str, Any]:
    return {
        "text_weight": model.text_weight,
        "neighbours": model.neighbours,
        "exclude_patients": list(options.exclude_patients),
        "mpp_override": options.mpp,
        "least_supported_share": LEAST_SUPPORTED_SHARE,
    }


def _warnings(
    model: Model,
    slide: SlideSection,
    notes: CaseNotes,
    tiles: TileResults,
    embedded: EmbeddedTiles,
    calibration: Calibration,
) -> list[str]:
    """What a reader must know before trusting the numbers, most important first."""
    warnings = []
    if model.bundle.manifest.synthetic:
        warnings.append(model.bundle.manifest.statement)
    if slide.stain.looks_like != "H&E":
        warnings.append(f"The slide may not be H&E but {slide.stain.looks_like}: {_sentence(slide.stain.reason)}")
    evidence = len(model.atlas.patients) if model.allowed is None else int(model.allowed.sum())
    if evidence < model.neighbours:
        warnings.append(f"Only {evidence} patches may be evidence; {model.neighbours} neighbours were asked for.")
    warnings += student_warnings(model)
    share = supported_share(tiles)
    if share < 1 - _STRANGE_SHARE:
        usual = 100 * ABSTENTION_RATE
        middle = float(np.nanmedian(tiles.percentile))
        warnings.append(
            f"{100 * (1 - share):.0f} % of the tissue resembles nothing in the atlas (at most {usual:.0f} % is usual), "
            f"and the tiles' median percentile is {middle:.0f} (50 is usual): intervals need not hold on this slide."
        )
    if not calibration.patients:
        warnings.append(
            "No patient calibrates this run: estimates have no intervals, and no tile abstains, however strange it is."
        )
    if embedded.unreadable:
        warnings.append(f"{len(embedded.unreadable)} tiles could not be read and were left out.")
    warnings += [_sentence(text) for text in (*slide.warnings, *model.atlas.warnings, *notes.section.warnings)]
    if notes.section.dropped:
        warnings.append(f"Left out of the notes as identifiers: {', '.join(notes.section.dropped)}.")
    return warnings


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."
