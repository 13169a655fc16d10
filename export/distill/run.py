"""From a bundle and unlabelled tiles to a bundle with a student: `haiku-edge export distill`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from haiku_edge.runtime.atlas import Atlas, open_atlas
from haiku_edge.runtime.bundle import Bundle, CalibrationSection, KnownPatients, Manifest, StudentSection
from haiku_edge.runtime.engine import open_tower, plain_engine, tower_digest
from haiku_edge.runtime.inference.golden import GoldenCases

from ..graph import check_graph, trace_tower
from ..graph.convert import serialise
from ..model import (
    KINDS,
    Kind,
    StudentTower,
    build_student,
    count_parameters,
    prepare_tower,
    read_student,
    student_config,
)
from ..training.loop import STATE_FILE, TOWERS_FOLDER, Report, fit
from ..training.run_folder import open_run, started
from ..training.schedule import Schedule
from ..training.start import pick_device
from ..training.state import fingerprint_of
from ..training.trainer import LoopSettings
from ..training.tuning import Rates
from .agreement import embed_held_out, measure_agreement
from .attach import TrainedStudent, add_student, check_place
from .calibration import calibration_patients, student_cases
from .learner import Distiller, Views, ViewSource
from .loss import DistillLoss, atlas_sample
from .sources import Group, draw_held_out, split_groups
from .views import Shelf, Teacher, views_of

RUN, CACHE = "run", "cache"
"""Folders in the working folder: the training's state, and what is computed once."""

__all__ = ["KINDS", "Distilled", "Options", "distill"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How a student is trained.

    Attributes:
        kind: vit-s or mobile.
        preset: published or embedded: its size.
        steps: Batches.
        batch: Tiles of a batch.
        views: Views of each tile, of which the first is the tile as it is; the teacher is asked about each.
        rate: Peak learning rate; rises over a twentieth of the steps, then falls as a cosine to zero.
        decay: Weight decay.
        loss: What is asked for.
        held_out: Share of the patients that the student is measured on.
        seed: Seeds split, weights, views and batches.
        kept_every: Steps between states on disk.
        device: auto, cpu or cuda: where the student is trained.
        threads: Processor threads.
    """

    kind: Kind = "mobile"
    preset: str = "published"
    steps: int = 4000
    batch: int = 64
    views: int = 4
    rate: float = 2e-3
    decay: float = 0.05
    loss: DistillLoss = field(default_factory=DistillLoss)
    held_out: float = 0.1
    seed: int = 0
    kept_every: int = 200
    device: str = "auto"
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came of it.

    Attributes:
        manifest: Of the new bundle.
        student: Its new student.
    """

    manifest: Manifest
    student: StudentSection


def distill(
    bundle: Bundle,
    groups: tuple[Group, ...],
    out: Path,
    work: Path,
    options: Options | None = None,
    *,
    measured: frozenset[str] = frozenset(),
    calibration: tuple[Group, ...] = (),
    report: Report = lambda _: None,
    say: Say = lambda _: None,
    resume: bool = False,
    force: bool = False,
) -> Distilled:
    """Train a small H&E tower to the vectors of a bundle's own, and write a bundle that has both.

    Args:
        bundle: The bundle, whose H&E tower teaches.
        groups: Unlabelled tiles.
        out: The new bundle.
        work: Folder for vectors, views and the training's state. Vectors stay for a second student.
        options: How.
        measured: Patients to measure the student on; drawn where none are named.
        calibration: Tiles of the bundle's calibration patients; without them the student has no intervals.
        report: Called every 20 batches.
        say: Called with one line a stage.
        resume: Go on with the training in `work`.
        force: Replace an older bundle in `out`.

    Raises:
        DatasetError: There are no tiles, or of one patient only, or a calibration case has none.
        UsageError, CheckpointIncompleteError: There is nothing to resume, or `out` is the old bundle.
        OutputError: The bundle can't be written, or something is there already.
        GraphMismatchError: The student's graph does not compute what torch computes.
    """
    chosen = options or Options()
    check_place(bundle, out, force=force)
    usable = _without_calibration(bundle, groups, say)
    who = measured or draw_held_out(usable, chosen.held_out, chosen.seed)
    learned, held_out = split_groups(usable, who)
    atlas = None if bundle.manifest.atlas is None else open_atlas(bundle)
    if atlas is None:
        say("The bundle has no atlas: the student learns the vectors alone, and no neighbours are compared.")
    shelf, teacher = Shelf(work / CACHE), open_teacher(bundle, chosen.threads)
    tower = _train(learned, atlas, bundle, shelf, teacher, chosen, work / RUN, report, say, resume)
    say(f"measuring the student on {len(held_out)} slides or regions that it did not learn from")
    known = KnownPatients.of_names(group.patient for group in learned)
    student = _measured_student(bundle, tower, held_out, calibration, atlas, shelf, teacher, chosen.kind, known)
    manifest = add_student(bundle, student, out, force=force)
    shutil.rmtree(work / RUN, ignore_errors=True)
    return Distilled(manifest, student.section)


def open_teacher(bundle: Bundle, threads: int | None = None) -> Teacher:
    """The bundle's own H&E tower, on an engine that equals fp32."""
    section = bundle.manifest.need_he()
    return Teacher(open_tower(bundle, section, threads=threads, strict=True), tower_digest(bundle, section))


def _without_calibration(bundle: Bundle, groups: tuple[Group, ...], say: Say) -> tuple[Group, ...]:
    """The groups of patients who do not calibrate the bundle: a student that knows them would look too sure."""
    patients = calibration_patients(bundle)
    usable = tuple(group for group in groups if group.patient not in patients)
    if len(usable) < len(groups):
        say(f"{len(groups) - len(usable)} slides or regions are of calibration patients, and are left out")
    return usable


def _train(
    groups: tuple[Group, ...],
    atlas: Atlas | None,
    bundle: Bundle,
    shelf: Shelf,
    teacher: Teacher,
    options: Options,
    folder: Path,
    report: Report,
    say: Say,
    resume: bool,
) -> StudentTower:
    """The student after its training."""
    manifest = bundle.manifest
    config = student_config(options.kind, options.preset, manifest.need_he().tile_size, manifest.embedding_dimension)
    fingerprint = fingerprint_of(
        replace(options, device=""), config, bundle.digest, sorted(group.key for group in groups)
    )
    open_run(folder, _about(bundle, groups, options), fingerprint, resume=resume)
    with started(folder, STATE_FILE, resume=resume):
        tower = build_student(config, options.seed)
        say(f"asking the teacher about {options.views} views of the tiles of {len(groups)} slides or regions")
        source = ViewSource(
            [_views(group, tower, shelf, teacher, options) for group in groups], options.batch, options.seed
        )
        vectors = None if atlas is None else atlas_sample(atlas.vectors)
        device = pick_device(options.device)
        distiller = Distiller(config, tower, _settings(options), options.loss, vectors, device)
        say(f"training {count_parameters(tower):,} parameters for {options.steps:,} batches")
        fit(distiller, source, report, folder=folder, fingerprint=fingerprint, resume=resume)
    return read_student(folder / TOWERS_FOLDER)


def _about(bundle: Bundle, groups: tuple[Group, ...], options: Options) -> dict[str, Any]:
    patients = len({group.patient for group in groups})
    return {"stage": "distill", "bundle": bundle.digest, "options": asdict(options), "patients": {"train": patients}}


def _settings(options: Options) -> LoopSettings:
    return LoopSettings(
        schedule=Schedule(options.steps, max(1, options.steps // 20)),
        rates=Rates.same(options.rate),
        decay=options.decay,
        clip=5.0,
        seed=options.seed,
        check_every=options.kept_every,
        threads=options.threads,
    )


def _views(group: Group, student: StudentTower, shelf: Shelf, teacher: Teacher, options: Options) -> Views:
    """All views of a group."""
    pairs = [
        (shelf.seen(view, student), shelf.taught(view, teacher))
        for view in views_of(group, options.views, options.seed)
    ]
    return Views(tuple(seen for seen, _ in pairs), tuple(taught for _, taught in pairs))


def _measured_student(
    bundle: Bundle,
    tower: StudentTower,
    held_out: tuple[Group, ...],
    calibration: tuple[Group, ...],
    atlas: Atlas | None,
    shelf: Shelf,
    teacher: Teacher,
    kind: Kind,
    known: KnownPatients,
) -> TrainedStudent:
    """The graph, compared with torch, and what it is worth."""
    prepared = prepare_tower(tower)
    graph = serialise(trace_tower(prepared))
    engine = plain_engine(graph)
    golden, _ = check_graph("student's H&E", prepared, engine, GoldenCases(bundle).inputs("he"))
    markers = 0 if atlas is None else len(atlas.markers)
    agreement = measure_agreement(embed_held_out(held_out, teacher, engine, shelf, markers), atlas)
    section = StudentSection(
        file=f"towers/student-{kind}.onnx",
        tile_size=bundle.manifest.need_he().tile_size,
        mpp=bundle.manifest.need_he().mpp,
        kind=kind,
        parameters=count_parameters(tower),
        agreement=agreement,
    )
    if bundle.manifest.calibration is None or not calibration:
        return TrainedStudent(section, graph, golden, None, known)
    cases = student_cases(bundle, calibration, teacher, engine, shelf)
    calibrated = section.model_copy(update={"calibration": _calibration(bundle.manifest.calibration, section.name)})
    return TrainedStudent(calibrated, graph, golden, cases, known)


def _calibration(teachers: CalibrationSection, name: str) -> CalibrationSection:
    return teachers.model_copy(update={"file": f"calibration/{name}.arrow"})
