"""`train haiku`: the contrastive stage on patches on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import atomic_write
from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import CohortError, UsageError

from ..checkpoint import read_known, write_known
from ..checkpoint.known import DIGESTS_KEY
from ..dataset import PatchDataset, open_dataset
from ..model import TowersConfig, count_parameters, read_towers
from .loop import STATE_FILE, TOWERS_FOLDER, Report, fit
from .loss import LossSettings
from .mif_cache import encode_dataset
from .patch_source import Draw, PatchSource, Reading
from .patients import known_patients, split_dataset
from .released import fits_released, write_released
from .run_folder import describe_run, open_run, read_run, started
from .schedule import Schedule
from .start import PRESETS, Start, has_text, pick_device, start_from_checkpoint, start_from_nothing
from .state import fingerprint_of
from .trainer import LoopSettings, Outcome, Trainer
from .tuning import PUBLISHED_TUNING, Rates, Tuning

TOKENIZER_FILE = "tokenizer/tokenizer.json"
CACHE_FILE = "mif_vectors.npz"
RELEASED_FOLDER = "checkpoint"
SCRATCH_RATE = 1e-3
"""Peak learning rate of small towers that start from nothing: the embedded bundle's."""


@dataclass(frozen=True, slots=True)
class HaikuOptions:
    """What the user may choose.

    Attributes:
        start: Folder of a released checkpoint to go on from, or None to start from nothing.
        mif: Folder of a `train mif` run whose encoder is taken, frozen; only without `start`.
        preset: Sizes of towers that start from nothing.
        epochs: Passes over the training patients. Published: 50 configured, 25 released.
        batch: Samples that are compared with each other. Published: 128.
        at_once: Samples embedded at once; None: the whole batch.
        warm_up: Batches with a rising learning rate. Published: 1,000.
        region_weight: Weight of another patch of the same region in the softmax. Published: 1 (off).
        learn_temperature: Train the temperature too. Published: no.
        notes_share: Share of the captions that are the clinical notes alone. Published: 0; see docs/guides/train.md.
        text: False for a model of H&E and mIF alone.
        patience: Epochs without improvement on the held-out patients before the training stops.
        device: auto, cpu or cuda.
        seed: Seeds weights, the split of the patients, batches.
        threads: Processor threads.
    """

    start: Path | None = None
    mif: Path | None = None
    preset: str = "embedded"
    epochs: int = 25
    batch: int = 128
    at_once: int | None = None
    warm_up: int = 1000
    region_weight: float = 1.0
    learn_temperature: bool = False
    notes_share: float = 0.0
    text: bool = True
    patience: int | None = 5
    device: str = "auto"
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left.

    Attributes:
        outcome: How it ended.
        towers: Folder of the best towers.
        released: Folder of the same in the released layout; None where that layout can't hold their sizes.
        patients: Patients trained on, and held out.
    """

    outcome: Outcome
    towers: Path
    released: Path | None
    patients: tuple[int, int]


def train_haiku(
    data: Path,
    out: Path,
    options: HaikuOptions,
    report: Report = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    *,
    resume: bool = False,
    sizes: TowersConfig | None = None,
) -> Trained:
    """Train on a dataset, and keep the towers that do best on patients held out.

    Args:
        data: Folder of the dataset.
        out: Folder of the training: towers, state, logs.
        options: What to do.
        report: Called every 20 batches.
        say: Called with one line a stage.
        resume: Go on with the training in `out`, to the result that it would have had.
        sizes: Depths of the checkpoint's towers where they are not the published ones.

    Raises:
        DatasetError: The data can't be used; `CohortError` where there is one patient only.
        CheckpointError: The checkpoint can't be used.
        UsageError: Options that do not go together, or a resume with others.
        OutputError: The folder can't be written, or holds something already.
    """
    _check(options)
    device = pick_device(options.device)
    dataset = open_dataset(data)
    train, held_out = split_dataset(dataset, options.seed)
    if len(train) < 2:
        raise CohortError("Fewer than two patches are left to train on, which is nothing to compare. Add patches.")
    start = _start(dataset, train, options, sizes)
    settings = _settings(start, options, len(train))
    known = _known(dataset, train, held_out, options)
    data_read = dataset.patches.tolist(), known
    fingerprint = fingerprint_of(replace(options, device=""), settings, start.markers, *data_read)
    counts = _patients(dataset, train), _patients(dataset, held_out)
    open_run(out, _about(dataset, options, settings, start, counts, known), fingerprint, resume=resume)
    say(f"training on {len(train):,} patches of {counts[0]} patients; {counts[1]} patients judge it")
    with started(out, STATE_FILE, resume=resume):
        source = _source(dataset, train, held_out, start, settings, options, out, say)
        trainer = Trainer(start.towers, settings, device)
        outcome = fit(trainer, source, report, folder=out, fingerprint=fingerprint, resume=resume)
    return _keep(out, start, outcome, counts, known)


def _check(options: HaikuOptions) -> None:
    if options.preset not in PRESETS:
        raise UsageError(f"There is no preset {options.preset}. Give {' or '.join(PRESETS)}.")
    if options.start is not None and options.mif is not None:
        raise UsageError("--from brings its own mIF encoder, so that --mif can't be given with it.")
    if options.epochs < 1 or options.batch < 2:
        raise UsageError("A training has at least one epoch, and a batch at least two patches.")


def _start(dataset: PatchDataset, train: NDArray[np.int64], options: HaikuOptions, sizes: TowersConfig | None) -> Start:
    if options.start is not None:
        return start_from_checkpoint(options.start, sizes)
    rows = train.tolist()
    text = options.text and has_text(dataset, rows)
    return start_from_nothing(dataset, rows, options.preset, options.seed, text=text, mif=options.mif)


def _settings(start: Start, options: HaikuOptions, patches: int) -> LoopSettings:
    """The published values for a checkpoint, the embedded bundle's for small towers that start from nothing."""
    size = min(options.batch, patches)
    per_epoch = patches // size
    steps = options.epochs * per_epoch
    fresh = not start.state
    small = fresh and options.preset == "embedded"
    return LoopSettings(
        schedule=Schedule(steps, min(options.warm_up, steps // 5)),
        loss=LossSettings(region_weight=options.region_weight, learn_temperature=options.learn_temperature),
        rates=Rates.same(SCRATCH_RATE) if small else Rates(),
        tuning=Tuning(mif=not start.trained_mif) if fresh else PUBLISHED_TUNING,
        decay=0.05 if small else 0.01,
        clip=5.0 if small else None,
        at_once=options.at_once or size,
        seed=options.seed,
        check_every=per_epoch,
        patience=options.patience,
        threads=options.threads,
    )


def _source(
    dataset: PatchDataset,
    train: NDArray[np.int64],
    held_out: NDArray[np.int64],
    start: Start,
    settings: LoopSettings,
    options: HaikuOptions,
    out: Path,
    say: Callable[[str], None],
) -> PatchSource:
    """Batches; with the vectors of the mIF encoder, computed once, where it is frozen."""
    encoded = None
    if not settings.tuning.mif:
        say("computing the vectors of the frozen mIF encoder")
        encoded = encode_dataset(
            start.towers.mif, dataset, start.markers, out / CACHE_FILE, pick_device(options.device)
        )
    reading = Reading(start.towers.config, start.markers, start.reader(), encoded)
    draw = Draw(options.batch, options.notes_share, turned=encoded is None, seed=options.seed)
    return PatchSource(dataset, train, held_out, reading, draw)


def _about(
    dataset: PatchDataset,
    options: HaikuOptions,
    settings: LoopSettings,
    start: Start,
    counts: tuple[int, int],
    known: KnownPatients,
) -> dict[str, Any]:
    chosen = {key: value for key, value in asdict(options).items() if key not in ("start", "mif")}
    return {
        "stage": "haiku",
        "options": chosen,
        "steps": settings.schedule.steps,
        "tuning": asdict(settings.tuning),
        "rates": asdict(settings.rates),
        "markers": list(start.markers),
        "mpp": dataset.mpp,
        "patches": len(dataset),
        "patients": {"train": counts[0], "held_out": counts[1]},
        DIGESTS_KEY: known.as_json(),
        "parameters": {name: count_parameters(module) for name, module in start.towers.modules().items()},
    }


def _keep(out: Path, start: Start, outcome: Outcome, counts: tuple[int, int], known: KnownPatients) -> Trained:
    """Leave tokenizer, figures and, where it can hold the sizes, the released layout beside the best towers."""
    if start.tokenizer is not None:
        (out / TOKENIZER_FILE).parent.mkdir(exist_ok=True)
        atomic_write(out / TOKENIZER_FILE, start.tokenizer)
    describe_run(out, {**read_run(out), "outcome": asdict(outcome)})
    write_known(out / TOWERS_FOLDER, known)
    best = read_towers(out / TOWERS_FOLDER)
    released = None
    if fits_released(best.config):
        released = out / RELEASED_FOLDER
        write_released(released, best, start.markers, start.tokenizer, start.state, start.esm)
        write_known(released, known)
    return Trained(outcome, out / TOWERS_FOLDER, released, counts)


def _known(
    dataset: PatchDataset, train: NDArray[np.int64], held_out: NDArray[np.int64], options: HaikuOptions
) -> KnownPatients:
    """The patients of this training, and of the one whose weights it starts from."""
    known = known_patients(dataset.patients, train, held_out)
    for folder in (options.start, options.mif):
        if folder is not None:
            known = known.with_earlier(read_known(folder))
    return known


def _patients(dataset: PatchDataset, rows: NDArray[np.int64]) -> int:
    return len(np.unique(dataset.patients[rows]))
