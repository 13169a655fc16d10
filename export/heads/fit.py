"""Train one network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from haiku_edge.runtime.errors import UsageError

from .bags import Bags
from .cox import cox_loss
from .hazards import HazardRisk, hazard_edges, hazard_loss
from .network import AttentionMil, BagNetwork, GatedMil, Inputs, MeanRidge
from .settings import Kind, MilSettings, RidgeSettings, Settings
from .targets import ClassTarget, SurvivalTarget, Target
from .transmil import TransMil

_NETWORKS: dict[Kind, Callable[[Inputs, int, int, MilSettings], BagNetwork]] = {
    "attention": AttentionMil,
    "gated": GatedMil,
    "transmil": TransMil,
}


@dataclass(frozen=True, slots=True)
class Training:
    """Patients as tensors.

    Attributes:
        vectors: (n, d) float32, finite.
        place: (p, longest) int64 rows of `vectors`.
        real: (p, longest) bool, False for padding.
        target: What is learned.
        edges: (bins - 1,) months between stretches of time where hazards are learned, else None.
    """

    vectors: Tensor
    place: Tensor
    real: Tensor
    target: Target
    edges: Tensor | None = None

    def batch(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """The padded bags of some patients and which of their places are real."""
        real = self.real[which]
        longest = int(real.sum(dim=1).max())
        return self.vectors[self.place[which, :longest]], real[:, :longest]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network.

    Attributes:
        network: In evaluation, with the weights of the best epoch.
        epochs: That epoch, from 1.
        loss: Validation loss there; NaN without validation.
    """

    network: BagNetwork
    epochs: int
    loss: float


def to_tensors(bags: Bags, target: Target, inputs: Inputs, edges: Tensor | None = None) -> Training:
    """Lay the bags out for training."""
    place, real = bags.layout()
    vectors = torch.from_numpy(inputs.complete(bags.vectors))
    return Training(vectors, torch.from_numpy(place), torch.from_numpy(real), target, edges)


def fit_network(
    bags: Bags,
    target: Target,
    settings: Settings,
    seed: int,
    *,
    validation: tuple[Bags, Target] | None = None,
    epochs: int | None = None,
) -> Fitted:
    """Train; the same seed and patients give the same network.

    Args:
        bags: Training patients.
        target: Of the same patients.
        settings: How.
        seed: Of weights, dropout and order.
        validation: Other patients, on whom training stops early; None trains for `epochs`.
        epochs: Passes without validation; the settings' own by default.

    Raises:
        UsageError: Hazards are asked of classes.
    """
    outputs = len(target.classes) if isinstance(target, ClassTarget) else 1
    if isinstance(settings, RidgeSettings):
        return _fit_ridge(bags, target, settings, outputs, validation)
    fitted = _fit_mil(bags, target, settings, outputs, seed, validation, epochs)
    return replace(fitted, network=HazardRisk(fitted.network).eval()) if settings.bins else fitted


def _fit_mil(
    bags: Bags,
    target: Target,
    settings: MilSettings,
    outputs: int,
    seed: int,
    validation: tuple[Bags, Target] | None,
    epochs: int | None,
) -> Fitted:
    """Train by steps; where hazards are learned, the network still tells them one by one."""
    edges = _edges(target, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs, make = Inputs(settings.scale, bags.vectors), _NETWORKS[settings.network]
        network = make(inputs, bags.vectors.shape[1], settings.bins or outputs, settings)
        loop = _Loop(network, to_tensors(bags, target, inputs, edges), settings)
        if validation is not None:
            return _stop_early(loop, to_tensors(*validation, inputs, edges), settings)
        loop.run(epochs or settings.epochs)
        return Fitted(network.eval(), loop.done, math.nan)


def task_loss(scores: Tensor, target: Target, which: Tensor, edges: Tensor | None = None) -> Tensor:
    """Cross-entropy of classes, the Cox partial likelihood, or with edges that of hazards, over some patients."""
    if isinstance(target, SurvivalTarget):
        months, events = torch.from_numpy(target.months)[which], torch.from_numpy(target.events)[which]
        if edges is not None:
            return hazard_loss(scores, months, events, edges)
        return cox_loss(scores[:, 0], months, events)
    return nn.functional.cross_entropy(scores, torch.from_numpy(target.codes)[which])


def _edges(target: Target, settings: MilSettings) -> Tensor | None:
    """Where stretches of time end for these training patients; None where no hazards are learned."""
    if not settings.bins:
        return None
    if isinstance(target, SurvivalTarget):
        return hazard_edges(target.months, target.events, settings.bins)
    raise UsageError("Settings with hazards are for survival, and classes have none. Choose the preset without them.")


class _Loop:
    """The state of a training run."""

    def __init__(self, network: BagNetwork, training: Training, settings: MilSettings) -> None:
        self.network, self.training, self.settings = network, training, settings
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, settings.epochs)
        self.done = 0

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            self.epoch()

    def epoch(self) -> None:
        self.network.train()
        for which in self._batches():
            self.optimiser.zero_grad()
            scores, _ = self.network(*self.training.batch(which))
            task_loss(scores, self.training.target, which, self.training.edges).backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        self.schedule.step()
        self.done += 1

    def _batches(self) -> Iterator[Tensor]:
        """All patients in a new order, in steps of nearly equal size."""
        count = len(self.training.place)
        steps = max(1, round(count / self.settings.batch))
        yield from torch.tensor_split(torch.randperm(count), steps)


def _stop_early(loop: _Loop, validation: Training, settings: MilSettings) -> Fitted:
    best, best_epoch, kept = math.inf, 0, loop.network.state_dict()
    while loop.done < settings.epochs and loop.done - best_epoch < settings.patience:
        loop.epoch()
        loss = _loss(loop.network.eval(), validation)
        if loss < best:
            best, best_epoch = loss, loop.done
            kept = {name: value.clone() for name, value in loop.network.state_dict().items()}
    loop.network.load_state_dict(kept)
    return Fitted(loop.network.eval(), max(best_epoch, 1), best)


def _fit_ridge(
    bags: Bags, target: Target, settings: RidgeSettings, outputs: int, validation: tuple[Bags, Target] | None
) -> Fitted:
    """Minimise the loss and the penalty; there is one best answer, so no seed and no epochs."""
    network = MeanRidge(Inputs("standard", bags.vectors), bags.vectors.shape[1], outputs)
    training, everyone = to_tensors(bags, target, network.inputs), torch.arange(len(bags))
    optimiser = torch.optim.LBFGS(network.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    vectors, real = training.batch(everyone)

    def closure() -> Tensor:
        optimiser.zero_grad()
        square = (network.head.weight**2).sum()
        loss = task_loss(network(vectors, real)[0], target, everyone) + 0.5 * settings.penalty * square
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    loss = math.nan if validation is None else _loss(network, to_tensors(*validation, network.inputs))
    return Fitted(network.eval(), 1, loss)


def _loss(network: BagNetwork, validation: Training) -> float:
    everyone = torch.arange(len(validation.place))
    with torch.inference_mode():
        scores, _ = network(*validation.batch(everyone))
        return float(task_loss(scores, validation.target, everyone, validation.edges))


def predict_bags(network: BagNetwork, bags: Bags) -> NDArray[np.float64]:
    """Score every patient with all of their patches: (p, outputs) float64."""
    with torch.inference_mode():
        bag_tensors = (torch.from_numpy(network.inputs.complete(bags.bag(i))) for i in range(len(bags)))
        rows = [network(tensor.unsqueeze(0))[0][0].numpy() for tensor in bag_tensors]
    return np.stack(rows).astype(np.float64)
