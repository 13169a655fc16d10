"""The main job: a slide and its notes in, biomarkers and the evidence behind them out."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..atlas import Atlas, open_atlas
from ..bundle import Bundle, open_bundle
from ..engine import Engine, choose_engine
from ..report import ReportImages, write_outputs
from ..report.schema import RESEARCH_USE_ONLY, Result
from ..slide import Slide, TilePlan, TileStream, open_slide, slide_digest
from ..version import product
from .calibration import Calibration, calibrate, read_cases
from .case_notes import CaseNotes, embed_notes
from .chunks import ChunkStore
from .clock import StageClock
from .embed import BATCH, BATCHES_PER_CHUNK, EmbeddedTiles, embed_tiles
from .evidence import ChosenTile, choose_tiles
from .folder import prepare_folder
from .options import PredictOptions
from .progress import Progress, Silent
from .result import Findings, assemble_result
from .retrieve import Retrieved, patients_allowed, retrieve
from .survey import Survey, survey_slide
from .tiles import judge_tiles, readable_tiles, tile_table


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
    with clock.stage("open bundle"):
        model = open_model(options)
    progress.say(model.first_line())
    with clock.stage("notes"):
        notes = embed_notes(model.bundle, notes_path)
    with contextlib.closing(open_slide(slide_path, mpp=options.mpp)) as slide:
        folder = prepare_folder(options.out, slide.info.name, force=options.force)
        progress.start("Looking at the slide")
        with clock.stage("survey"):
            survey = survey_slide(slide, size=model.tile_size, mpp=model.mpp)
            digest = slide_digest(slide.info)
        progress.finish()
        with ChunkStore(folder, _recipe(model, survey.plan, digest)) as store:
            with clock.stage("embed tiles"):
                embedded = embed_tiles(slide, survey.plan, model.engine, store, progress, threads=model.threads)
            with clock.stage("retrieve and infer"):
                findings = find_biomarkers(model, notes, survey, embedded, options)
            with clock.stage("read evidence tiles"):
                pixels = _read_tiles(slide, survey.plan, findings.chosen, model.threads)
            clock.add("engine, within embed", embedded.engine_seconds)
            clock.add("waiting for tiles, within embed", embedded.stream_seconds)
            result = assemble_result(slide.info, digest, survey, notes, model, options, embedded, findings, clock)
            images = _images(survey, pixels, findings, model.atlas)
            files = write_outputs(folder, result, findings.table, images)
            store.discard()
    return Prediction(folder, result, findings.table, files)


@dataclass(frozen=True, slots=True)
class Model:
    """An open bundle with its engine: everything but the case.

    Attributes:
        bundle: The verified bundle.
        atlas: Its evidence.
        engine: The H&E tower on the chosen device.
        text_weight: Weight of the notes.
        neighbours: Patches behind each tile.
        threads: Threads for decoding.
    """

    bundle: Bundle
    atlas: Atlas
    engine: Engine
    text_weight: float
    neighbours: int
    threads: int

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return self.bundle.manifest.he.tile_size

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of a tile."""
        return self.bundle.manifest.he.mpp

    def first_line(self) -> str:
        """Which device runs, with which bundle, for which use."""
        device, manifest = self.engine.device, self.bundle.manifest
        kind = "synthetic bundle" if manifest.synthetic else "bundle"
        return (
            f"{product()} on {device.kind} ({device.name}; {device.reason}), "
            f"{kind} {manifest.name} {manifest.version} ({self.bundle.digest[:12]}). {RESEARCH_USE_ONLY}"
        )


def open_model(options: PredictOptions) -> Model:
    """Open and verify the bundle, and make its H&E engine.

    Raises:
        BundleError: The bundle is refused.
        DeviceUnavailableError: The asked-for device is not there.
    """
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    threads = options.threads or len(os.sched_getaffinity(0))
    return Model(
        bundle=bundle,
        atlas=open_atlas(bundle),
        engine=choose_engine(bundle.read(manifest.he.file), device=options.device, threads=threads),
        text_weight=manifest.retrieval.text_weight if options.text_weight is None else options.text_weight,
        neighbours=options.neighbours or manifest.retrieval.neighbours,
        threads=threads,
    )


def find_biomarkers(
    model: Model, notes: CaseNotes, survey: Survey, embedded: EmbeddedTiles, options: PredictOptions
) -> Findings:
    """Search the atlas for every readable tile, with and without the notes, and judge what was found."""
    atlas = model.atlas
    allowed = patients_allowed(atlas, options.exclude_patients)
    searched = readable_tiles(embedded)
    he = embedded.vectors[searched]
    alone = _search(model, he, None, allowed)
    found = alone if notes.vector is None else _search(model, he, notes.vector, allowed)
    calibration, calibration_alone = _calibrations(model, notes.vector is not None, allowed)
    tiles = judge_tiles(survey.plan, embedded, searched, found, alone, atlas, calibration)
    return Findings(
        tiles=tiles,
        table=tile_table(survey.plan, embedded, tiles, calibration, atlas.markers),
        found=found,
        chosen=choose_tiles(tiles, atlas.markers),
        calibration=calibration,
        calibration_alone=calibration_alone,
    )


def _search(
    model: Model,
    he: NDArray[np.float32],
    text: NDArray[np.float32] | None,
    allowed: NDArray[np.bool_] | None,
) -> Retrieved:
    return retrieve(model.atlas, he, text, text_weight=model.text_weight, neighbours=model.neighbours, allowed=allowed)


def _calibrations(model: Model, with_notes: bool, allowed: NDArray[np.bool_] | None) -> tuple[Calibration, Calibration]:
    """The calibrations of the prediction with notes and of the one without."""
    cases = read_cases(model.bundle, model.atlas)
    coverage = model.bundle.manifest.calibration.coverage

    def measure(with_notes: bool) -> Calibration:
        return calibrate(
            model.atlas,
            cases,
            with_notes=with_notes,
            text_weight=model.text_weight,
            neighbours=model.neighbours,
            allowed=allowed,
            coverage=coverage,
        )

    alone = measure(with_notes=False)
    return (measure(with_notes=True) if with_notes else alone), alone


def _recipe(model: Model, plan: TilePlan, digest: str) -> dict[str, object]:
    """Everything that decides the bytes of an embedded tile."""
    device = model.engine.device
    return {
        "product": product(),
        "slide": digest,
        "bundle": model.bundle.digest,
        "provider": device.provider,
        "processor": device.name,
        "grid": [plan.grid.size, plan.grid.mpp, plan.level, len(plan.grid.origins), plan.grid.origins.tolist()[:1]],
        "batch": [BATCH, BATCHES_PER_CHUNK],
    }


def _read_tiles(
    slide: Slide, plan: TilePlan, chosen: tuple[ChosenTile, ...], threads: int
) -> dict[int, NDArray[np.uint8]]:
    """The pixels of the chosen tiles, as the tower saw them."""
    rows = np.array(sorted(tile.tile for tile in chosen), dtype=np.int64)
    if not len(rows):
        return {}
    with TileStream(slide, _only(plan, rows), batch_size=len(rows), threads=threads, unreadable_share=1.0) as stream:
        (batch,) = list(stream)
        return {int(row): tile.copy() for row, tile in zip(rows, batch.tiles, strict=True)}


def _only(plan: TilePlan, rows: NDArray[np.int64]) -> TilePlan:
    """The plan of these tiles alone."""
    grid = plan.grid
    parts = {name: getattr(grid, name)[rows] for name in ("columns", "rows", "origins", "tissue")}
    return replace(plan, grid=replace(grid, **parts))


def _images(survey: Survey, pixels: dict[int, NDArray[np.uint8]], findings: Findings, atlas: Atlas) -> ReportImages:
    rows = [findings.tiles.row_of[tile.tile] for tile in findings.chosen]
    patches = sorted({int(i) for row in rows for i in findings.found.ids[row] if i >= 0})
    names = {i: str(atlas.patches[i]) for i in patches}
    legend = {entry.marker: entry.colour for i in patches for entry in atlas.pictures.legend(i)}
    return ReportImages(
        overview=survey.picture.image,
        scale=survey.picture.scale,
        tiles=pixels,
        composites={names[i]: atlas.pictures.composite(i) for i in patches},
        channels={names[i]: _channels(atlas, i) for i in patches},
        composite_legend=tuple((marker, _rgb(colour)) for marker, colour in legend.items()),
    )


def _channels(atlas: Atlas, patch: int) -> dict[str, bytes]:
    return {name: atlas.pictures.channel(patch, name) for name in atlas.pictures.channels(patch)}


def _rgb(colour: str) -> tuple[int, int, int]:
    """'#rrggbb' as three numbers."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
