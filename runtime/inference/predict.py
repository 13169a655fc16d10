"""The main job: a slide and its notes in, biomarkers and the evidence behind them out."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atomic import check_writable
from ..errors import NoTissueError
from ..notes import identifiers_in_name
from ..report import write_outputs
from ..report.schema import Result
from ..slide import SlideInfo, TilePlan, open_slide, slide_digest
from .case_notes import CaseNotes, embed_notes
from .chunks import ChunkStore
from .clock import StageClock
from .embed import EmbeddedTiles, embed_tiles
from .evidence import choose_tiles
from .families import Families, check_reads_notes, open_families
from .findings import AllFindings, Findings
from .folder import output_folder
from .head_findings import SlideVectors, ask_heads, tile_blocks
from .model import Model
from .options import PredictOptions
from .pixels import read_pixels
from .progress import Progress, Silent
from .recipe import embedding_recipe
from .report_pictures import report_images
from .result import assemble_result
from .spade import find_genes
from .summarise import why_the_slide_abstains
from .survey import Survey, survey_slide
from .tiles import judge_tiles, readable_tiles


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a finished run left.

    Attributes:
        folder: Where the outputs lie.
        result: The content of `result.json`.
        tiles: The content of `tiles.parquet`.
        files: Every file written.
    """

    folder: Path
    result: Result
    tiles: pa.Table
    files: tuple[Path, ...]


def predict(
    slide_path: Path,
    notes_path: Path | None,
    options: PredictOptions | None = None,
    progress: Progress | None = None,
) -> Prediction:
    """Predict a slide's biomarkers, with the measured mIF patches that speak for them.

    Args:
        slide_path: A slide file, a DICOM file, folder or zip.
        notes_path: `notes.json`, or None to predict from the H&E alone.
        options: How; the bundle's own values by default.
        progress: Who is told how far it is.

    Raises:
        HaikuEdgeError: One of the tree in `errors.py`; finished tiles are kept for the next run.
    """
    options, progress, clock = options or PredictOptions(), progress or Silent(), StageClock()
    check_writable(options.out)
    with clock.stage("open bundle"):
        families = open_families(options)
    progress.say(families.first_line())
    with clock.stage("notes"):
        notes = _notes_of(families, notes_path)
    with contextlib.closing(open_slide(slide_path, mpp=options.mpp)) as slide:
        progress.start("Looking at the slide")
        with clock.stage("survey"):
            survey = survey_slide(slide, size=families.view.size, mpp=families.view.mpp)
            digest = slide_digest(slide.info)
        info = named_for_outputs(slide.info, digest, options.name)
        progress.finish()
        with output_folder(options.out, info.name, force=options.force) as folder:
            recipe = embedding_recipe(families.bundle, families.towers(), families.batching, survey.plan, digest)
            store = ChunkStore(folder, recipe)
            with clock.stage("embed tiles"):
                embedded = embed_tiles(
                    slide,
                    survey.plan,
                    families.engine,
                    store,
                    progress,
                    threads=families.threads,
                    batching=families.batching,
                )
            with clock.stage("retrieve and infer"):
                findings = find_everything(families, notes, survey, embedded, options.exclude_patients)
                table = findings.table(survey.plan, embedded)
            with clock.stage("read evidence tiles"):
                pixels = read_pixels(slide, survey.plan, findings.shown(), families.threads)
            clock.add("engine, within embed", embedded.engine_seconds)
            clock.add("waiting for tiles, within embed", embedded.stream_seconds)
            result = assemble_result(info, digest, survey, notes, families, options, embedded, findings, clock)
            progress.start("Writing the report")
            files = write_outputs(folder, result, table, report_images(survey, pixels, findings))
            progress.finish()
    return Prediction(folder, result, table, files)


def _notes_of(families: Families, path: Path | None) -> CaseNotes:
    """The case's notes, once it is known that somebody reads them."""
    if path is not None:
        check_reads_notes(families.bundle, proteins=families.haiku is not None, option="--clinical")
    return embed_notes(families.bundle, path)


def find_everything(
    families: Families, notes: CaseNotes, survey: Survey, embedded: EmbeddedTiles, excluded: tuple[str, ...] = ()
) -> AllFindings:
    """Ask each family what it says of the readable tiles.

    Raises:
        NoTissueError: No tile is sharp and readable.
    """
    searched = readable_tiles(embedded)
    if not len(searched):
        raise NoTissueError(_why_none_is_left(survey.plan, embedded))
    haiku = spade = None
    own, mixed = families.split(embedded.vectors)
    if families.haiku is not None and own is not None:
        tiles = replace(embedded, vectors=own)
        haiku = find_biomarkers(families.haiku, notes, survey.plan, tiles, searched, excluded)
    if families.spade is not None and mixed is not None:
        spade = find_genes(families.spade, survey.plan, replace(embedded, vectors=mixed), searched)
    return AllFindings(families, searched, haiku, spade)


def find_biomarkers(
    model: Model,
    notes: CaseNotes,
    plan: TilePlan,
    embedded: EmbeddedTiles,
    searched: NDArray[np.int64],
    excluded: tuple[str, ...] = (),
) -> Findings:
    """Search the atlas for every readable tile, with and without the notes, and judge what was found."""
    atlas = model.atlas
    he = embedded.vectors[searched]
    alone = model.search(he, None)
    found = alone if notes.vector is None else model.search(he, notes.vector)
    calibration_alone = model.calibrate(with_notes=False)
    calibration = calibration_alone if notes.vector is None else model.calibrate(with_notes=True)
    tiles = judge_tiles(plan, embedded, searched, found, alone, atlas, calibration)
    heads = ask_heads(
        model.heads,
        SlideVectors(he, notes.vector, searched, tile_blocks(plan.grid, searched)),
        excluded,
        why_the_slide_abstains(tiles),
        never=why_no_head(model),
    )
    return Findings(
        tiles=tiles,
        heads=heads,
        found=found,
        chosen=choose_tiles(tiles, atlas.markers),
        calibration=calibration,
        calibration_alone=calibration_alone,
    )


def why_no_head(model: Model) -> str | None:
    """Why no head is asked whatever the slide: heads were trained, and measured, on the bundle's own vectors."""
    if model.tower.student is None:
        return None
    return "it was trained on vectors of the bundle's own H&E tower, and a student ran; --tower teacher asks it"


def named_for_outputs(info: SlideInfo, digest: str, name: str | None) -> SlideInfo:
    """The slide's description under the name that outputs bear.

    That is the name asked for, else the file's own, unless it looks as if it held an identifier: file names often hold
    a record number or a birth date.
    """
    if name is not None:
        return replace(info, name=name)
    if not identifiers_in_name(info.name):
        return info
    name = f"slide-{digest[:12]}"
    warning = f"The file's name looks as if it held an identifier; {name} stands in its place (--name gives another)"
    return replace(info, name=name, warnings=(*info.warnings, warning))


def _why_none_is_left(plan: TilePlan, embedded: EmbeddedTiles) -> str:
    counts = plan.counts
    lost = len(embedded.unreadable)
    return (
        f"No usable tile is left: of {counts['grid']} on the grid, {counts['background']} are background, "
        f"{counts['pen']} under pen, {counts['fold']} folds, {len(plan.grid.origins) - lost} blurred and {lost} "
        "unreadable. "
        "Rescan the slide in focus."
    )
