"""One training: what it is set to, and one step of it."""

from __future__ import annotations

import abc
import math
from collections.abc import Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from haiku_edge.runtime.errors import DatasetError

from ..model import Towers
from .batch import Batch, Source
from .gradients import backward, contrast
from .loss import ContrastiveLoss, LossSettings
from .schedule import Schedule
from .state import write_towers
from .tuning import Rates, Tuning, freeze, parameter_groups, set_training


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How towers are trained, whatever the data.

    Attributes:
        schedule: Steps, and how the learning rate moves.
        loss: How samples are compared.
        rates: Peak learning rates.
        tuning: What is trained.
        decay: Weight decay. Published: 0.01.
        clip: Largest norm of the gradient, or None not to clip it (published).
        at_once: Samples that are embedded at once; a larger batch is embedded in parts, with the same result.
        seed: Seeds what chance is left in the towers.
        check_every: Steps between looks at the validation patients, after each of which the state is kept.
        patience: Looks without improvement before the training stops early; None: never.
        threads: Processor threads; sums depend on them.
    """

    schedule: Schedule
    loss: LossSettings = field(default_factory=LossSettings)
    rates: Rates = field(default_factory=Rates)
    tuning: Tuning = field(default_factory=Tuning)
    decay: float = 0.01
    clip: float | None = None
    at_once: int = 128
    seed: int = 0
    check_every: int = 500
    patience: int | None = None
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended.

    Attributes:
        steps: Batches done.
        best: Least loss on the validation patients; None without such patients.
        best_step: Batches after which it was reached; the towers kept are of then.
        stopped_early: Whether patience ran out.
    """

    steps: int
    best: float | None
    best_step: int
    stopped_early: bool


@dataclass(slots=True)
class _Standing:
    """What decides how a training goes on, beside weights and optimiser."""

    step: int = 0
    best: float | None = None
    best_step: int = 0
    waited: int = 0


B = TypeVar("B", bound=Sized)


class Learner(abc.ABC, Generic[B]):
    """A training and how far it is: what the loop drives, whatever is learned from whatever batches.

    Chance depends on the seed and the number of the step alone, so that the state needs no generators: a training
    that is stopped and resumed gives the same weights, bit for bit on a processor.
    """

    def __init__(self, settings: LoopSettings, groups: list[dict[str, Any]]) -> None:
        """Take the settings, and the parameters by learning rate: each group's peak is in `peak`."""
        self.settings = settings
        self.optimiser = torch.optim.AdamW(groups)
        self.standing = _Standing()

    @abc.abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """What is trained, by the names that the state gives it."""

    @abc.abstractmethod
    def set_training(self, mode: bool) -> None:
        """Set training, or evaluation, behaviour."""

    @abc.abstractmethod
    def backward(self, batch: B) -> float:
        """Compute the loss of a batch, and add its gradients to those of the parameters."""

    @abc.abstractmethod
    def loss_of(self, batch: B) -> float:
        """The loss of a held-out batch."""

    @abc.abstractmethod
    def keep(self, directory: Path) -> None:
        """Write the weights; older ones there are replaced once the new are whole."""

    def step(self, source: Source[B]) -> float:
        """Train on the next batch, and return its loss."""
        return self.train_on(source.batch(self.standing.step))

    def train_on(self, batch: B) -> float:
        """Train on a batch, which must be that of the next step."""
        step = self.standing.step
        torch.manual_seed(hash((self.settings.seed, step)) & 0x7FFFFFFF)
        share = self.settings.schedule.share(step)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share
        self.set_training(True)
        self.optimiser.zero_grad(set_to_none=True)
        value = self.backward(batch)
        check_finite(value, step)
        if self.settings.clip is not None:
            trained = [own for group in self.optimiser.param_groups for own in group["params"]]
            nn.utils.clip_grad_norm_(trained, self.settings.clip)
        self.optimiser.step()
        self.standing.step += 1
        return value

    @torch.no_grad()
    def held_out_loss(self, source: Source[B]) -> float | None:
        """Mean loss on the held-out batches, or None where there are none."""
        self.set_training(False)
        total, count = 0.0, 0
        for batch in source.held_out():
            total += self.loss_of(batch) * len(batch)
            count += len(batch)
        return total / count if count else None

    def judge(self, held_out: float | None) -> bool:
        """Take note of a look at the held-out batches; whether the weights are the best so far."""
        standing = self.standing
        better = held_out is None or standing.best is None or held_out < standing.best
        standing.waited = 0 if better else standing.waited + 1
        if better:
            standing.best, standing.best_step = held_out, standing.step
        return better

    def finished(self) -> bool:
        """Whether all steps are done, or patience ran out."""
        return self.standing.step >= self.settings.schedule.steps or self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether the held-out loss has not improved for too many looks."""
        return self.settings.patience is not None and self.standing.waited >= self.settings.patience

    def state(self) -> dict[str, Any]:
        """Everything that decides how the training goes on."""
        standing = self.standing
        return {
            "towers": {name: module.state_dict() for name, module in self.modules().items()},
            "optimiser": self.optimiser.state_dict(),
            "standing": [standing.step, standing.best, standing.best_step, standing.waited],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        for name, module in self.modules().items():
            module.load_state_dict(state["towers"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.standing = _Standing(*state["standing"])

    def outcome(self) -> Outcome:
        """How the training ended."""
        own = self.standing
        return Outcome(own.step, own.best, own.best_step, self.out_of_patience())


class Trainer(Learner[Batch]):
    """One training of the towers against each other: towers, loss, optimiser, and how far they are."""

    def __init__(self, towers: Towers, settings: LoopSettings, device: torch.device) -> None:
        """Take towers, which are changed in place."""
        self.towers, self.device = towers, device
        freeze(towers, settings.tuning)
        for module in towers.modules().values():
            module.to(device)
        # Convolutions run twice as fast on a processor when the channels of a pixel lie together.
        towers.he.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = ContrastiveLoss(settings.loss).to(device)
        groups = parameter_groups(towers, settings.rates, settings.decay)
        if settings.loss.learn_temperature:
            rate = settings.rates.temperature
            groups.append({"params": list(self.loss.parameters()), "peak": rate, "lr": rate, "weight_decay": 0.0})
        super().__init__(settings, groups)

    def modules(self) -> dict[str, nn.Module]:
        """The towers."""
        return self.towers.modules()

    def set_training(self, mode: bool) -> None:
        """Training behaviour for what is trained; what is frozen keeps its running statistics."""
        if mode:
            set_training(self.towers)
        else:
            self.towers.train(False)

    def backward(self, batch: Batch) -> float:
        """See `gradients.backward`."""
        return backward(self.towers, self.loss, batch.to(self.device), self.settings.at_once)

    def loss_of(self, batch: Batch) -> float:
        """The contrastive loss."""
        return contrast(self.towers, self.loss, batch.to(self.device)).item()

    def keep(self, directory: Path) -> None:
        """As `read_towers` takes them."""
        write_towers(directory, self.towers)

    def state(self) -> dict[str, Any]:
        """Everything that decides how the training goes on, the temperature among it."""
        return {**super().state(), "loss": self.loss.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        super().restore(state)
        self.loss.load_state_dict(state["loss"])


def check_finite(loss: float, step: int) -> None:
    """Stop before weights are spoilt.

    Raises:
        DatasetError: The loss is no number.
    """
    if not math.isfinite(loss):
        raise DatasetError(
            f"The loss of batch {step + 1:,} is no number, so the training ended there. Look for broken "
            "patches or counts in its data, or broken weights in what it began with; what was kept before is whole."
        )
