"""The training loop: batches made ahead, looks at held-out patients, states on disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from .batch import Source
from .logs import Log, open_log
from .state import read_state, write_state
from .trainer import B, Learner, Outcome

STATE_FILE = "state.pt"
TOWERS_FOLDER = "towers"
LOG_FOLDER = "logs"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the training is.

    Attributes:
        step: Batches done.
        steps: Batches in all.
        loss: Mean loss since the last report.
        held_out: Loss on the validation patients where they were just looked at.
    """

    step: int
    steps: int
    loss: float
    held_out: float | None = None


Report = Callable[[Progress], None]


def fit(
    trainer: Learner[B],
    source: Source[B],
    report: Report = lambda _: None,
    *,
    folder: Path | None = None,
    fingerprint: str = "",
    resume: bool = False,
    every: int = 20,
) -> Outcome:
    """Train to the end, or until patience runs out.

    Args:
        trainer: The training.
        source: Batches.
        report: Called every `every` batches.
        folder: Where state, best towers and logs are kept; nothing is kept without it.
        fingerprint: What the training is; a state of another one is refused.
        resume: Go on from the folder's state; from the beginning where it was stopped before there was one.
        every: Batches between reports.

    Raises:
        CheckpointIncompleteError, UsageError: The state is damaged, or of another training.
        DatasetError: The loss is no number any more.
        OutputNotWritableError, DiskFullError: The state can't be kept.
    """
    if resume and folder is not None and (folder / STATE_FILE).exists():
        trainer.restore(read_state(folder / STATE_FILE, fingerprint))
    logs = None if folder is None else folder / LOG_FOLDER
    with deterministic(trainer.settings.threads), open_log(logs, trainer.standing.step) as log:
        losses: list[float] = []
        for batch in () if trainer.finished() else _ahead(source, trainer):
            losses.append(trainer.train_on(batch))
            step, steps = trainer.standing.step, trainer.settings.schedule.steps
            rates = {f"rate/{i}": group["lr"] for i, group in enumerate(trainer.optimiser.param_groups)}
            log.write(step, {"loss/train": losses[-1], **rates})
            held_out = None
            if look := step % trainer.settings.check_every == 0 or step == steps:
                held_out = _look(trainer, source, folder, fingerprint, log)
            if look or step % every == 0:
                report(Progress(step, steps, sum(losses) / len(losses), held_out))
                losses.clear()
            if trainer.finished():
                break
    trainer.set_training(False)
    return trainer.outcome()


def _ahead(source: Source[B], trainer: Learner[B]) -> Iterator[B]:
    """The batches of the steps to come, each made while the one before is trained on."""
    steps = trainer.settings.schedule.steps
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(source.batch, trainer.standing.step)
        for step in range(trainer.standing.step + 1, steps + 1):
            batch = coming.result()
            if step < steps:
                coming = pool.submit(source.batch, step)
            yield batch


def _look(trainer: Learner[B], source: Source[B], folder: Path | None, fingerprint: str, log: Log) -> float | None:
    """Look at the validation patients, keep the towers if they are the best, and keep the state."""
    held_out = trainer.held_out_loss(source)
    better = trainer.judge(held_out)
    if held_out is not None:
        log.write(trainer.standing.step, {"loss/held_out": held_out})
    if folder is not None:
        if better:
            trainer.keep(folder / TOWERS_FOLDER)
        write_state(folder / STATE_FILE, {**trainer.state(), "fingerprint": fingerprint})
    return held_out


@contextlib.contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Let torch use only algorithms that repeat, with a fixed number of threads (sums depend on it)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, were = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Every tensor is written before it is read; torch does not declare this setting to type checkers.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(were)
        torch.set_num_threads(before)
