"""`train spade`: image features, clusters, experts, and the checkpoint that they make."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.errors import CohortError, OutputExistsError, UsageError
from haiku_edge.runtime.inference.progress import Progress, Silent

from ..checkpoint import write_known
from ..checkpoint.known import DIGESTS_KEY
from ..checkpoint.spade import SpadeCheckpoint, write_spade
from ..model.spade import MixtureConfig
from ..spatial import open_spots
from ..spatial.features import Encoder
from ..training.run_folder import RUN_FILE, describe_run, open_run, read_run, started
from ..training.start import pick_device
from ..training.state import fingerprint_of, write_folder
from .cluster import PER_ORGAN, Clusters, two_stage
from .cluster_file import CLUSTERS_FILE, read_clusters, write_clusters
from .elbow import draw_elbow
from .expert_trainer import WIDTH, ExpertDone, ExpertJob, read_expert
from .experts import default_workers, train_experts
from .training_spots import TrainingSpots, gather_spots, table_of, write_tables

CHECKPOINT_FOLDER = "checkpoint"
EXPERTS_FOLDER = "experts"
FEATURES_FOLDER = "features"
ELBOW_FILE = "elbow.svg"
COUNTS = ("raw", "log")
"""What gene heads read: raw counts, as published, or log1p of counts a 10,000."""

_TABLES_FOLDER = "tables"
_ROUTING_FILE = "routing.json"
_STAGE = "spade"
_PROCEDURE = 2
"""Counts up when the same options and data train to something else, so that no run is finished by another procedure."""

_NOT_DECISIVE: Mapping[str, None] = dict.fromkeys(("workers", "features", "device"))
"""Options that do not change the result."""


@dataclass(frozen=True, slots=True)
class SpadeOptions:
    """What the user may choose; the defaults are the published values but for seed and least spots.

    Attributes:
        experts: Number of experts, or "elbow"; 1 is one expert on all data, a baseline.
        per_organ: Centroids of an organ.
        least_spots: An expert with fewer spots to learn from is merged into the nearest.
        shuffled: Give centroids to experts by chance, a baseline.
        epochs: Passes of each expert over its spots.
        batch: Spots that are compared with each other.
        counts: One of `COUNTS`.
        exclude: Patients who neither teach nor judge, as those an evaluation will ask about.
        seed: Seeds clusters, the split of the patients, weights, batches.
        threads: Processor threads of one expert; sums depend on them.
        workers: Experts that are trained at once; None: as many as there are cores for.
        device: auto, cpu or cuda.
        features: Folder that keeps image features, which trainings may share; None: one in the run's folder.
    """

    experts: int | Literal["elbow"] = 16
    per_organ: int = PER_ORGAN
    least_spots: int = 500
    shuffled: bool = False
    epochs: int = 100
    batch: int = 128
    counts: str = "raw"
    exclude: tuple[str, ...] = ()
    seed: int = 0
    threads: int = 1
    workers: int | None = None
    device: str = "auto"
    features: Path | None = None


@dataclass(frozen=True, slots=True)
class TrainedSpade:
    """What a training left.

    Attributes:
        checkpoint: Folder of centroids, map and experts.
        experts: How each training ended.
        patients: Patients trained on, and held out.
        routed_alike: Share of the spots that inference takes to the expert that they belong to in training.
        notes: What the clustering had to say.
        asked: Experts before those with too few spots were merged.
    """

    checkpoint: Path
    experts: tuple[ExpertDone, ...]
    patients: tuple[int, int]
    routed_alike: float
    notes: tuple[str, ...]
    asked: int


def train_spade(
    data: Path,
    encoder: Encoder,
    out: Path,
    options: SpadeOptions,
    progress: Progress | None = None,
    *,
    resume: bool = False,
    force: bool = False,
) -> TrainedSpade:
    """Cluster a dataset's spots by their image features, and train an expert on each cluster.

    Args:
        data: Folder of a dataset of spots.
        encoder: The frozen image encoder.
        out: Folder of the training: clusters, experts with states and logs, checkpoint.
        options: What to do.
        progress: Told what is done.
        resume: Go on with the training in `out`, to the result that it would have had.
        force: Replace an older training in `out`.

    Raises:
        DatasetError: The data can't be used; `CohortError` where there is one patient only.
        UsageError: Options that do not go together, a resume with others, or clusters of another training.
        OutputError: The folder can't be written, or holds something already.
    """
    _check(options, resume=resume, force=force)
    progress = progress or Silent()
    device = pick_device(options.device).type
    dataset = open_spots(data)
    spots = gather_spots(dataset, encoder, options.features or out / FEATURES_FOLDER, options.seed, options.exclude)
    _check_experts(spots, options)
    fingerprint = _fingerprint(spots, options)
    if force:
        _clear(out)
    open_run(out, _about(spots, options), fingerprint, resume=resume)
    with started(out, CLUSTERS_FILE, resume=resume):
        spots.compute_features(progress)
        clusters = _clusters(spots, out, options, fingerprint, progress)
    alike = _tables(spots, clusters, out, options, progress)
    done = _train(clusters, out, options, device, fingerprint, progress, resume=resume)
    return _keep(spots, clusters, done, alike, out, options)


def _check(options: SpadeOptions, *, resume: bool, force: bool) -> None:
    if options.counts not in COUNTS:
        raise UsageError(f"There are no counts {options.counts}. Give {' or '.join(COUNTS)}.")
    if options.epochs < 1 or min(options.batch, options.least_spots) < 2 or options.threads < 1:
        raise UsageError("A training has at least one epoch and thread, and a batch or expert at least two spots.")
    if options.shuffled and options.experts == 1:
        raise UsageError("One expert has every centroid, so there is nothing to shuffle. Give --experts more.")
    if resume and force:
        raise UsageError("--resume goes on with a training and --force begins it anew. Give one of them.")


def _check_experts(spots: TrainingSpots, options: SpadeOptions) -> None:
    """Refuse, before features are computed, more experts than there can be centroids."""
    organs = {section.organ for section in spots.sections if section.patient not in spots.judges}
    most = len(organs) * options.per_organ
    if options.experts != "elbow" and options.experts > most:
        raise UsageError(
            f"{options.experts} experts need at least as many centroids, and {options.per_organ} for each of "
            f"{len(organs)} organs are {most}. Give a smaller --experts, or a larger --per-organ."
        )


def _fingerprint(spots: TrainingSpots, options: SpadeOptions) -> str:
    decisive = {key: value for key, value in asdict(options).items() if key not in _NOT_DECISIVE}
    sections = [(own.section, own.patient, own.organ, own.sha256) for own in spots.sections]
    return fingerprint_of(_PROCEDURE, decisive, spots.dataset.genes, sections, spots.encoder.digest, spots.encoder.size)


def _clear(out: Path) -> None:
    """Remove an older training, and nothing else."""
    if not (out / RUN_FILE).exists():
        return
    if read_run(out).get("stage") != _STAGE:
        raise OutputExistsError(f"{out} holds something else than a training of experts. Name another folder.")
    shutil.rmtree(out)


def _about(spots: TrainingSpots, options: SpadeOptions) -> dict[str, Any]:
    known = spots.known
    chosen = {key: value for key, value in asdict(options).items() if key not in ("exclude", "features")}
    return {
        "stage": _STAGE,
        "options": chosen,
        "excluded": len(options.exclude),
        "sections": len(spots.sections),
        "spots": sum(section.spots for section in spots.sections),
        "organs": sorted({section.organ for section in spots.sections}),
        "genes": len(spots.dataset.genes),
        "tile": {"size": spots.encoder.size, "mpp": spots.dataset.mpp},
        "synthetic": spots.dataset.synthetic,
        "encoder": spots.encoder.digest,
        "patients": {"train": len(known.train), "held_out": len(known.held_out)},
        DIGESTS_KEY: known.as_json(),
    }


def _clusters(spots: TrainingSpots, out: Path, options: SpadeOptions, fingerprint: str, progress: Progress) -> Clusters:
    """The clusters of the run's folder, or new ones."""
    file = out / CLUSTERS_FILE
    if file.exists():
        return read_clusters(file, fingerprint)
    said: list[str] = []
    progress.start("clusters")
    clusters = two_stage(
        spots.by_organ(),
        options.per_organ,
        options.experts,
        options.seed,
        least_spots=options.least_spots,
        shuffled=options.shuffled,
        say=said.append,
    )
    progress.finish()
    if clusters.spots.sum() < 2:
        raise CohortError("Fewer than two spots are left to learn from, which is nothing to compare. Add sections.")
    for line in said:
        progress.say(line)
    if clusters.wcss:
        about = f"{len(clusters.centroids)} centroids, {count_experts(clusters.experts)}"
        atomic_write(out / ELBOW_FILE, draw_elbow(clusters.wcss, clusters.experts, about))
    write_clusters(file, clusters, fingerprint)
    return clusters


def _tables(spots: TrainingSpots, clusters: Clusters, out: Path, options: SpadeOptions, progress: Progress) -> float:
    """See that each expert's spots lie ready; the share of them that inference routes as training does."""
    folder = out / _TABLES_FOLDER

    def write(beside: Path) -> None:
        share = write_tables(spots, clusters, beside, progress, log=options.counts == "log")
        (beside / _ROUTING_FILE).write_text(json.dumps(share))

    if not folder.exists():
        write_folder(folder, write)
    return float(json.loads((folder / _ROUTING_FILE).read_text()))


def _train(
    clusters: Clusters,
    out: Path,
    options: SpadeOptions,
    device: str,
    fingerprint: str,
    progress: Progress,
    *,
    resume: bool,
) -> list[ExpertDone]:
    first = ExpertJob(
        number=0,
        table=out / _TABLES_FOLDER,
        folder=out / EXPERTS_FOLDER,
        epochs=options.epochs,
        batch=options.batch,
        seed=options.seed,
        threads=options.threads,
        device=device,
        fingerprint="",
        resume=resume,
    )
    jobs = [_job(first, number, fingerprint_of(fingerprint, clusters.digest)) for number in range(clusters.experts)]
    workers = options.workers or default_workers(device, options.threads)
    progress.say(f"training {count_experts(len(jobs))}, {min(workers, len(jobs))} at a time")
    progress.start("experts", len(jobs))

    def tell(done: ExpertDone) -> None:
        progress.say(_line(done, options.epochs))
        progress.advance(1)

    found = train_experts(jobs, workers, tell)
    progress.finish()
    return found


def _job(first: ExpertJob, number: int, fingerprint: str) -> ExpertJob:
    table, folder = table_of(first.table, number), table_of(first.folder, number)
    folder.mkdir(parents=True, exist_ok=True)
    return replace(first, number=number, table=table, folder=folder, fingerprint=fingerprint_of(fingerprint, number))


def count_experts(experts: int) -> str:
    """So many experts, in words."""
    return f"{experts} expert{'' if experts == 1 else 's'}"


def _line(done: ExpertDone, epochs: int) -> str:
    """How an expert's training ended; people count experts from 1, and its files from 0."""
    judged = (
        "no spot of a held-out patient, so the last weights are kept"
        if done.outcome.best is None
        else f"loss {done.outcome.best:.4f} on {done.held_out:,} held-out spots after pass {_pass(done, epochs):,}"
    )
    return f"expert {done.number + 1} ({done.number:02d} in names of files): {done.spots:,} spots; {judged}"


def _pass(done: ExpertDone, epochs: int) -> int:
    """The pass, counted from 1, after which the weights that are kept were reached: every pass has as many batches."""
    return done.outcome.best_step * epochs // done.outcome.steps


def _keep(
    spots: TrainingSpots, clusters: Clusters, done: Sequence[ExpertDone], alike: float, out: Path, options: SpadeOptions
) -> TrainedSpade:
    """Write the checkpoint, and how it came to be; the tables are not needed any more."""
    known = spots.known
    outcome = {"experts": [asdict(own) for own in done], "routed_alike": alike, "notes": list(clusters.notes)}
    shutil.rmtree(out / CHECKPOINT_FOLDER, ignore_errors=True)
    write_spade(out / CHECKPOINT_FOLDER, _checkpoint(spots, clusters, out, options))
    write_known(out / CHECKPOINT_FOLDER, known)
    describe_run(out, {**read_run(out), "outcome": outcome})
    shutil.rmtree(out / _TABLES_FOLDER, ignore_errors=True)
    patients = len(known.train), len(known.held_out)
    asked = clusters.experts + clusters.merged
    return TrainedSpade(out / CHECKPOINT_FOLDER, tuple(done), patients, alike, clusters.notes, asked)


def _checkpoint(spots: TrainingSpots, clusters: Clusters, out: Path, options: SpadeOptions) -> SpadeCheckpoint:
    """The best weights of every expert, with what they belong to."""
    states = [read_expert(table_of(out / EXPERTS_FOLDER, number)) for number in range(clusters.experts)]
    images, genes = (
        tuple({key.removeprefix(head): value for key, value in own.items() if key.startswith(head)} for own in states)
        for head in ("image_projection.", "spot_projection.")
    )
    about = {key: value for key, value in _about(spots, options).items() if key != DIGESTS_KEY}
    centroids, features = clusters.centroids.shape
    return SpadeCheckpoint(
        config=MixtureConfig(features, WIDTH, clusters.experts, centroids),
        centroids=clusters.centroids,
        expert_of=clusters.expert_of,
        image_heads=images,
        spot_heads=genes,
        genes=spots.dataset.genes,
        encoder=spots.encoder.digest,
        about={**about, "counts": options.counts, "notes": list(clusters.notes)},
    )
