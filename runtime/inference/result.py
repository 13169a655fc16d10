"""Puts a run's findings into the words and numbers of `result.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..report.schema import (
    Result,
    SlideSection,
    TilesSection,
    UnreadableTile,
)
from ..version import product
from .describe import describe_bundle, describe_device, describe_slide, student_warnings
from .evidence import gather_evidence
from .remarks import evidence_remarks
from .spade_result import describe_genes
from .summarise import LEAST_SUPPORTED_SHARE, describe_calibration, summarise
from .tiles import TileResults

if TYPE_CHECKING:
    from ..slide import SlideInfo
    from .case_notes import CaseNotes
    from .clock import StageClock
    from .embed import EmbeddedTiles
    from .families import Families
    from .findings import AllFindings, Findings
    from .model import Model
    from .options import PredictOptions
    from .survey import Survey


def assemble_result(
    info: SlideInfo,
    digest: str,
    survey: Survey,
    notes: CaseNotes,
    families: Families,
    options: PredictOptions,
    embedded: EmbeddedTiles,
    findings: AllFindings,
    clock: StageClock,
) -> Result:
    """Make the result of a run; everything that the report shows comes from here."""
    section = describe_slide(info, digest, survey)
    spade = families.spade
    return Result(
        product=product(),
        bundle=describe_bundle(families.bundle),
        device=describe_device(families.engine, None if families.haiku is None else families.haiku.tower),
        slide=section,
        tiles=_describe_tiles(survey, embedded, findings.tiles),
        notes=notes.section,
        parameters=_parameters(families, options),
        **_of_haiku(families.haiku, findings.haiku, tuple(notes.section.markers_named)),
        spatial=None if spade is None or findings.spade is None else describe_genes(spade, findings.spade),
        warnings=_warnings(families, section, notes, findings, embedded),
        timing={**clock.seconds, "total": clock.total()},
    )


def _of_haiku(model: Model | None, findings: Findings | None, named: tuple[str, ...]) -> dict[str, Any]:
    """The parts of a result that Haiku fills."""
    if model is None or findings is None:
        return {"calibration": None, "biomarkers": [], "evidence": [], "heads": []}
    atlas, tiles = model.atlas, findings.tiles
    return {
        "calibration": describe_calibration(findings.calibration),
        "biomarkers": summarise(atlas, tiles, findings.calibration, findings.calibration_alone, named),
        "evidence": gather_evidence(findings.chosen, tiles, findings.found, atlas, findings.calibration),
        "heads": [head.finding for head in findings.heads],
    }


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


def _parameters(families: Families, options: PredictOptions) -> dict[str, Any]:
    haiku = families.haiku
    own = {} if haiku is None else {"text_weight": haiku.text_weight, "neighbours": haiku.neighbours}
    return {
        **own,
        "exclude_patients": list(options.exclude_patients),
        "mpp_override": options.mpp,
        "least_supported_share": LEAST_SUPPORTED_SHARE,
    }


def _warnings(
    families: Families, slide: SlideSection, notes: CaseNotes, findings: AllFindings, embedded: EmbeddedTiles
) -> list[str]:
    """What a reader must know before trusting the numbers, most important first."""
    manifest, warnings = families.bundle.manifest, []
    if manifest.synthetic:
        warnings.append(manifest.statement)
    if slide.stain.looks_like != "H&E":
        warnings.append(f"The slide may not be H&E but {slide.stain.looks_like}: {_sentence(slide.stain.reason)}")
    if families.haiku is not None and findings.haiku is not None:
        model, own = families.haiku, findings.haiku
        warnings += evidence_remarks(model.atlas, model.allowed, model.neighbours, own.tiles, own.calibration)
        warnings += student_warnings(model)
        warnings += map(_sentence, model.atlas.warnings)
    if families.spade is not None and findings.spade is not None:
        spade, mixed = families.spade, findings.spade
        warnings += evidence_remarks(spade.atlas, spade.allowed, spade.neighbours, mixed.tiles, mixed.calibration)
        warnings += map(_sentence, spade.atlas.warnings)
    if embedded.unreadable:
        warnings.append(f"{len(embedded.unreadable)} tiles could not be read and were left out.")
    warnings += [_sentence(text) for text in (*slide.warnings, *notes.section.warnings)]
    if notes.section.dropped:
        warnings.append(f"Left out of the notes as identifiers: {', '.join(notes.section.dropped)}.")
    return warnings


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."
