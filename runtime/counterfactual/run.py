"""The main job: a slide, its notes and edits of them in; how the evidence and its markers change out."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atomic import check_writable
from ..errors import BundleContentError
from ..inference import Model, Progress, Silent, open_model
from ..inference.case_notes import embed_read_notes
from ..inference.chunks import ChunkStore
from ..inference.clock import StageClock
from ..inference.embed import EmbeddedTiles, embed_tiles
from ..inference.folder import output_folder
from ..inference.pixels import read_pixels
from ..inference.predict import named_for_outputs
from ..inference.recipe import embedding_recipe
from ..inference.survey import survey_slide
from ..notes import metadata_prompt, read_notes
from ..slide import Slide, TilePlan, open_slide, slide_digest
from .analyse import Analysis, Tiles, analyse
from .assemble import assemble_result, tile_table
from .case import Case, Question
from .edits import edit_notes, parse_sets
from .null import random_edits
from .options import CounterfactualOptions
from .outputs import write_outputs
from .reuse import read_finished
from .schema import CounterfactualResult
from .texts import embed_prompts
from .tiles import choose_tiles, judge_tiles

SUFFIX = "-counterfactual"


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """What a finished run left.

    Attributes:
        folder: Where the outputs lie.
        result: The content of `result.json`.
        tiles: The content of `counterfactual.parquet`.
        files: Every file written.
    """

    folder: Path
    result: CounterfactualResult
    tiles: pa.Table
    files: tuple[Path, ...]


def counterfactual(
    slide_path: Path,
    notes_path: Path,
    sets: Sequence[str],
    options: CounterfactualOptions | None = None,
    progress: Progress | None = None,
) -> Counterfactual:
    """Fix the morphology, edit the notes: what does the evidence then say?

    Args:
        slide_path: A slide file, a DICOM file, folder or zip.
        notes_path: `notes.json` with the case's facts.
        sets: Edits, FIELD=VALUE each.
        options: How; the published values by default.
        progress: Who is told how far it is.

    Raises:
        UsageError: An edit does not fit the notes.
        HaikuEdgeError: One of the tree in `errors.py`; finished tiles are kept for the next run.
    """
    options, progress, clock = options or CounterfactualOptions(), progress or Silent(), StageClock()
    pairs = parse_sets(sets)
    check_writable(options.out)
    with clock.stage("open bundle"):
        model = open_model(options.for_model())
        _need_positivity(model)
    progress.say(model.first_line())
    with clock.stage("notes"):
        question = _ask(model, notes_path, pairs, options)
    with contextlib.closing(open_slide(slide_path, mpp=options.mpp)) as slide:
        progress.start("Looking at the slide")
        with clock.stage("survey"):
            survey = survey_slide(slide, size=model.tile_size, mpp=model.mpp)
            digest = slide_digest(slide.info)
        info = named_for_outputs(slide.info, digest, options.name)
        progress.finish()
        with output_folder(options.out, f"{info.name}{SUFFIX}", force=options.force) as folder:
            with clock.stage("embed tiles"):
                embedded, source = _embed(slide, survey.plan, model, digest, folder, progress)
            progress.start("Comparing the evidence")
            with clock.stage("retrieve and compare"):
                judged = judge_tiles(model, embedded)
                analysis = _analyse(model, survey.plan, embedded, judged.used, question, options)
            progress.finish()
            case = Case(info, digest, survey, model, options, question, embedded, source, judged, analysis)
            shown = [int(judged.used[tile.row]) for tile in choose_tiles(case)]
            pixels = read_pixels(slide, survey.plan, shown, model.threads)
            result, table = assemble_result(case, clock), tile_table(case)
            progress.start("Writing the report")
            files = write_outputs(folder, result, table, case, pixels)
            progress.finish()
    return Counterfactual(folder, result, table, files)


def _ask(model: Model, notes_path: Path, pairs: Sequence[tuple[str, str]], options: CounterfactualOptions) -> Question:
    """Both notes and the random ones, through the text tower."""
    text = model.bundle.manifest.need_text()
    notes = read_notes(notes_path)
    others = {name: own for name, own in model.atlas.facts.items() if name not in options.exclude_patients}
    edited = edit_notes(notes, pairs, others)
    drawn = random_edits(notes.facts, edited.edited.facts, others, count=options.random_edits)
    prompts = [notes.prompt, edited.edited.prompt, *(metadata_prompt(own) for own in drawn)]
    return Question(embed_read_notes(model.bundle, text, notes), edited, embed_prompts(model.bundle, prompts))


def _need_positivity(model: Model) -> None:
    if not np.isfinite(model.atlas.positive).any():
        raise BundleContentError(
            f"The atlas of the bundle {model.bundle.manifest.name} does not say which patches are positive, so there "
            "is no prevalence to compare. Build the atlas again with `haiku-edge atlas build`."
        )


def _embed(
    slide: Slide, plan: TilePlan, model: Model, digest: str, folder: Path, progress: Progress
) -> tuple[EmbeddedTiles, str]:
    """The tiles' vectors, and where they come from."""
    finished = folder.with_name(folder.name.removesuffix(SUFFIX))
    found = read_finished(finished, plan, model, digest)
    if found is not None:
        return found, "from the finished prediction"
    towers = [(model.tower.name, model.engine)]
    store = ChunkStore(folder, embedding_recipe(model.bundle, towers, model.batching, plan, digest))
    embedded = embed_tiles(slide, plan, model.engine, store, progress, threads=model.threads, batching=model.batching)
    return embedded, "resumed" if embedded.resumed else "computed"


def _analyse(
    model: Model,
    plan: TilePlan,
    embedded: EmbeddedTiles,
    used: NDArray[np.int64],
    question: Question,
    options: CounterfactualOptions,
) -> Analysis:
    grid = plan.grid
    side = grid.size * grid.mpp / 1000
    x, y = (np.asarray(place[used] * side, np.float64) for place in (grid.columns, grid.rows))
    tiles = Tiles(embedded.vectors[used], x, y, side)
    return analyse(
        model.atlas,
        tiles,
        question.texts.vectors[0],
        question.texts.vectors[1],
        options.search(model.allowed),
        keys=[edit.key for edit in question.edited.edits],
        random_texts=question.texts.vectors[2:],
        random_fields=len(question.edited.edits),
        niches=options.niches,
    )
