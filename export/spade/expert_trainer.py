"""One expert's training: an image head and a gene head that learn to agree on the spots of one cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from haiku_edge.runtime.errors import CheckpointIncompleteError

from ..model.spade import Expert, soft_target_loss
from ..training.epochs import Epochs, stream
from ..training.loop import TOWERS_FOLDER, Progress, fit
from ..training.schedule import Schedule
from ..training.state import write_folder
from ..training.trainer import Learner, LoopSettings, Outcome
from .expert_table import SpotTable, open_table

RATE = 1e-4
"""Learning rate of AdamW at the beginning, from where half a cosine leads to 0, batch by batch. Published."""

DECAY = 1e-2
"""Weight decay of AdamW. Published."""

TEMPERATURE = 1.0
"""Of the loss. Published."""

WIDTH = 256
"""Length of an embedding. Published."""

_EXPERT_FILE = "expert.safetensors"
_JUDGES = 4
"""Purpose of the random stream that orders the held-out spots."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """n spots: (n, D) float32 features of the image, and (n, genes) float32 counts."""

    features: Tensor
    counts: Tensor

    def __len__(self) -> int:
        """Number of spots."""
        return len(self.features)


class SpotSource:
    """Batches of one expert's spots; see `Source`."""

    def __init__(self, table: SpotTable, batch: int, seed: int) -> None:
        """Take a table with at least one spot to learn from, the size of a batch, and the seed of its orders."""
        self._table, self._most = table, batch
        self.epochs = Epochs(np.flatnonzero(~table.held_out), batch, seed)
        # In a fixed random order: neighbours in the tissue are harder to tell apart than what training compares.
        self._judges = stream(seed, _JUDGES).permutation(np.flatnonzero(table.held_out))

    def batch(self, step: int) -> Pairs:
        """The training batch of one step, counted from 0."""
        return self._pairs(self.epochs.rows(step))

    def held_out(self) -> Iterator[Pairs]:
        """Batches of the held-out patients' spots; a last spot that is alone has nothing to be compared with."""
        for start in range(0, len(self._judges), self._most):
            rows = self._judges[start : start + self._most]
            if len(rows) > 1:
                yield self._pairs(rows)

    def _pairs(self, rows: NDArray[np.int64]) -> Pairs:
        features = np.ascontiguousarray(self._table.features[rows])
        return Pairs(torch.from_numpy(features), torch.from_numpy(self._table.counts(rows)))


class ExpertTrainer(Learner[Pairs]):
    """The training of one expert."""

    def __init__(self, expert: Expert, settings: LoopSettings, device: torch.device) -> None:
        """Take an expert, which is changed in place."""
        self.expert, self.device = expert.to(device), device
        group = {"params": list(expert.parameters()), "peak": RATE, "lr": RATE, "weight_decay": settings.decay}
        super().__init__(settings, [group])

    def modules(self) -> dict[str, nn.Module]:
        """Both heads."""
        return {"expert": self.expert}

    def set_training(self, mode: bool) -> None:
        """With dropout, or without."""
        self.expert.train(mode)

    def backward(self, batch: Pairs) -> float:
        """The soft-target loss, and its gradients."""
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def loss_of(self, batch: Pairs) -> float:
        """The soft-target loss."""
        return self._loss(batch).item()

    def keep(self, directory: Path) -> None:
        """As `read_expert` takes them."""
        write_folder(directory, lambda beside: _save(self.expert, beside))

    def _loss(self, batch: Pairs) -> Tensor:
        images, spots = self.expert(batch.features.to(self.device), batch.counts.to(self.device))
        return soft_target_loss(spots, images, TEMPERATURE)


@dataclass(frozen=True, slots=True)
class ExpertJob:
    """One expert to train, as another process can be told of it.

    Attributes:
        number: Number of the expert, from 0.
        table: Folder of its spots.
        folder: Folder of its training.
        epochs, batch: Passes over its spots, and spots of a batch.
        seed: Of the training: seeds the first weights, alike for all experts; batches and dropout are the expert's own.
        threads: Processor threads; sums depend on them.
        device: cpu or cuda.
        fingerprint: What the training is; a state of another one is refused.
        resume: Whether to go on from its last state.
    """

    number: int
    table: Path
    folder: Path
    epochs: int
    batch: int
    seed: int
    threads: int
    device: str
    fingerprint: str
    resume: bool


@dataclass(frozen=True, slots=True)
class ExpertDone:
    """How an expert's training ended: its number, its spots to learn from and those that judged, and the outcome."""

    number: int
    spots: int
    held_out: int
    outcome: Outcome


def train_expert(job: ExpertJob, report: Callable[[Progress], None] = lambda _: None) -> ExpertDone:
    """Train one expert, or go on with it; a finished one ends at once.

    Raises:
        CheckpointIncompleteError, UsageError: Its state is damaged, or of another training.
        DatasetError: The loss is no number any more.
        OutputError: The state can't be kept.
    """
    table = open_table(job.table)
    seed = int(np.random.SeedSequence((job.seed, job.number)).generate_state(1)[0])
    source = SpotSource(table, job.batch, seed)
    per_epoch = source.epochs.per_epoch
    settings = LoopSettings(
        schedule=Schedule(job.epochs * per_epoch, warm_up=0),
        decay=DECAY,
        seed=seed,
        check_every=per_epoch,
        threads=job.threads,
    )
    expert = build_expert(table.features.shape[1], table.genes, job.seed)
    trainer = ExpertTrainer(expert, settings, torch.device(job.device))
    outcome = fit(trainer, source, report, folder=job.folder, fingerprint=job.fingerprint, resume=job.resume)
    judges = int(table.held_out.sum())
    return ExpertDone(job.number, len(table.held_out) - judges, judges, outcome)


def build_expert(features: int, genes: int, seed: int) -> Expert:
    """An expert with random weights that depend on the seed alone.

    All experts of a mixture begin alike, as the published ones do (each is trained with seed 42): what they learn then
    stays in one space, so that vectors of different experts can be compared.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Expert(features, genes, WIDTH)


def read_expert(folder: Path) -> dict[str, Tensor]:
    """The best weights of an expert, by the published names, from the folder of its training.

    Raises:
        CheckpointIncompleteError: They are missing or damaged.
    """
    file = folder / TOWERS_FOLDER / _EXPERT_FILE
    try:
        weights: dict[str, Tensor] = load_file(file)
    except Exception as error:  # safetensors raises its own kinds
        raise CheckpointIncompleteError(
            f"{file} is missing or damaged ({type(error).__name__}). Start the training again in a new folder."
        ) from None
    return weights


def _save(expert: Expert, folder: Path) -> None:
    folder.mkdir()
    weights = {name: value.detach().cpu().contiguous() for name, value in expert.state_dict().items()}
    save_file(weights, folder / _EXPERT_FILE)
