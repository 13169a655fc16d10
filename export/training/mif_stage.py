"""`train mif`: the masked autoencoder stage on patches on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import UsageError

from ..checkpoint.known import DIGESTS_KEY
from ..dataset import PatchDataset, open_dataset
from ..model import MifConfig, published_config
from .gradients import autocast
from .logs import Log, open_log
from .loop import LOG_FOLDER, STATE_FILE, Progress, Report, deterministic
from .masked import MaskedAutoencoder, Masking
from .masked_source import Chunk, MaskedDraw, MaskedSource
from .mif_file import write_mif_encoder
from .patients import known_patients, split_dataset
from .run_folder import describe_run, open_run, read_run
from .schedule import cosine_between
from .start import PRESETS, pick_device
from .state import fingerprint_of, read_state, write_state
from .trainer import check_finite

RATES = (2e-4, 2e-6)
DECAYS = (0.04, 0.4)
"""First and last learning rate and weight decay (published)."""


@dataclass(frozen=True, slots=True)
class MifOptions:
    """What the user may choose.

    Attributes:
        preset: Sizes: the embedded bundle's, or the released model's.
        epochs: Passes over the training patients. Published: 20.
        batch: Patches of one update. Published: 128, as 4 times 32.
        at_once: Patches that are computed at once; their gradients are added up.
        masking: How much is hidden.
        device: auto, cpu or cuda.
        seed: Seeds weights, the split of the patients, batches and masks.
        threads: Processor threads.
    """

    preset: str = "embedded"
    epochs: int = 20
    batch: int = 128
    at_once: int = 32
    masking: Masking = field(default_factory=Masking)
    device: str = "auto"
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """What the stage left.

    Attributes:
        folder: Folder with the encoder; `train haiku --mif` takes it.
        steps: Updates done.
        first: Error on the held-out patients before the training: about 1, the variance of a standardised channel.
        best: Least error on them.
    """

    folder: Path
    steps: int
    first: float
    best: float


def train_mif(
    data: Path,
    out: Path,
    options: MifOptions,
    report: Report = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    *,
    resume: bool = False,
) -> TrainedEncoder:
    """Train the mIF encoder as a masked autoencoder.

    Args:
        data: Folder of the dataset; only its mIF is used.
        out: Folder of the training: encoder, state, logs.
        options: What to do.
        report: Called after every pass over the data.
        say: Called with one line a stage.
        resume: Go on with the training in `out`, to the result that it would have had.

    Raises:
        DatasetError: The data can't be used; `CohortError` where there is one patient only.
        UsageError: Options that do not go together, or a resume with others.
        OutputError: The folder can't be written, or holds something already.
    """
    if options.preset not in PRESETS:
        raise UsageError(f"There is no preset {options.preset}. Give {' or '.join(PRESETS)}.")
    device = pick_device(options.device)
    dataset = open_dataset(data)
    train, held_out = split_dataset(dataset, options.seed)
    known = known_patients(dataset.patients, train, held_out)
    config = _config(options.preset, len(dataset.markers))
    draw = MaskedDraw(options.batch, options.at_once, options.masking, options.seed)
    source = MaskedSource(dataset, train, held_out, config, draw)
    fingerprint = fingerprint_of(replace(options, device=""), config, dataset.markers, dataset.patches.tolist(), known)
    open_run(out, _about(dataset, options, known), fingerprint, resume=resume)
    say(f"training on {len(train):,} patches; {len(held_out):,} patches of other patients judge it")
    torch.manual_seed(options.seed)
    run = _Run(MaskedAutoencoder(config).to(device), source, options.epochs * source.epochs.per_epoch, device)
    if resume and (out / STATE_FILE).exists():
        run.restore(read_state(out / STATE_FILE, fingerprint))
    with deterministic(options.threads), open_log(out / LOG_FOLDER, run.step) as log:
        _train(run, dataset.markers, out, fingerprint, report, log)
    describe_run(out, {**read_run(out), "outcome": {"steps": run.step, "first": run.first, "best": run.best}})
    assert run.first is not None and run.best is not None
    return TrainedEncoder(out, run.step, run.first, run.best)


class _Run:
    """One training: model, optimiser, and how far they are."""

    def __init__(self, model: MaskedAutoencoder, source: MaskedSource, steps: int, device: torch.device) -> None:
        self.model, self.source, self.steps, self.device = model, source, steps, device
        decayed = [own for own in model.parameters() if own.ndim >= 2]
        free = [own for own in model.parameters() if own.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=RATES[0])
        self.step = 0
        self.first: float | None = None
        self.best: float | None = None

    def update(self) -> float:
        """One update on the next batch; its loss."""
        for number, group in enumerate(self.optimiser.param_groups):
            group["lr"] = cosine_between(*RATES, self.step, self.steps)
            group["weight_decay"] = 0.0 if number else cosine_between(*DECAYS, self.step, self.steps)
        self.model.train(True)
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for chunk in self.source.batch(self.step):
            share = len(chunk.mif) / self.source.epochs.size
            loss = self.error(chunk) * share
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        check_finite(total, self.step)
        self.optimiser.step()
        self.step += 1
        return total

    def error(self, chunk: Chunk) -> Tensor:
        """Mean squared error of one part of a batch."""
        with autocast(self.device):
            on = chunk.to(self.device)
            found: Tensor = self.model(on.mif, on.markers, on.masked)
        return found

    @torch.no_grad()
    def judge(self) -> float:
        """Error on the held-out patients."""
        self.model.train(False)
        errors = [(self.error(chunk).item(), len(chunk.mif)) for chunk in self.source.held_out()]
        return sum(error * count for error, count in errors) / sum(count for _, count in errors)

    def state(self) -> dict[str, Any]:
        """Everything that decides how the training goes on."""
        own = [self.step, self.first, self.best]
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "standing": own}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.first, self.best = state["standing"]


def _train(run: _Run, markers: tuple[str, ...], out: Path, fingerprint: str, report: Report, log: Log) -> None:
    """Update to the end; after every pass keep the best encoder and the state."""
    losses: list[float] = []
    if run.first is None:
        run.first = run.judge()
    while run.step < run.steps:
        losses.append(run.update())
        log.write(run.step, {"loss/train": losses[-1], "rate": run.optimiser.param_groups[0]["lr"]})
        if run.step % run.source.epochs.per_epoch == 0:
            found = run.judge()
            log.write(run.step, {"loss/held_out": found})
            if run.best is None or found < run.best:
                run.best = found
                write_mif_encoder(out, run.model, markers)
            write_state(out / STATE_FILE, {**run.state(), "fingerprint": fingerprint})
            report(Progress(run.step, run.steps, sum(losses) / len(losses), found))
            losses.clear()


def _config(preset: str, markers: int) -> MifConfig:
    base = published_config(markers).mif if preset == "published" else MifConfig()
    return replace(base, markers=markers)


def _about(dataset: PatchDataset, options: MifOptions, known: KnownPatients) -> dict[str, Any]:
    return {
        "stage": "mif",
        "options": asdict(options),
        "markers": list(dataset.markers),
        "patches": len(dataset),
        "patients": {"train": len(known.train), "held_out": len(known.held_out)},
        DIGESTS_KEY: known.as_json(),
    }
