"""Training the three towers together from random weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from haiku_edge.runtime.notes import Tokenizer

from ..captions import training_caption
from ..model import Towers, TowersConfig, build_towers
from .augment import ORIENTATIONS, choose_channels, jitter_stain, orient
from .dataset import TrainingSet
from .loss import pairwise_clip


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the towers are trained.

    Attributes:
        steps: Batches.
        patients: Patients in a batch, each once.
        patches: Patches of each of them: at least two, so that patches of the same patient are told apart.
        rate: Peak learning rate; rises over `warm_up`, then falls as a cosine to zero.
        warm_up: Share of the steps with a rising rate.
        decay: Weight decay of matrices (not of biases, norms and tables).
        channels: Numbers of mIF channels that a batch may have, so that small panels embed too.
        threads: Processor threads.
    """

    steps: int = 1200
    patients: int = 48
    patches: int = 2
    rate: float = 2e-3
    warm_up: float = 0.06
    decay: float = 0.05
    channels: tuple[int, ...] = (6, 10, 14)
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the training is.

    Attributes:
        step: Batches done.
        steps: Batches in all.
        loss: Mean loss since the last report.
    """

    step: int
    steps: int
    loss: float


def train_towers(
    data: TrainingSet,
    config: TowersConfig,
    tokenizer: Tokenizer,
    recipe: Recipe,
    seed: int,
    report: Callable[[Progress], None] = lambda _: None,
) -> Towers:
    """Train from random weights; the same data, recipe, seed and machine give the same towers.

    Args:
        data: Training patches.
        config: Sizes of the towers.
        tokenizer: The text tower's tokenizer.
        recipe: How to train.
        seed: Seeds weights, batches and augmentation.
        report: Called every 20 batches.
    """
    with _deterministic(recipe.threads):
        towers = build_towers(config, seed)
        towers.train()
        rng = np.random.default_rng(np.random.SeedSequence((seed, 1)))
        optimiser = torch.optim.AdamW(_groups(towers, recipe.decay), lr=recipe.rate)
        losses: list[float] = []
        batches = sample_patches(data.owners, recipe, rng)
        for step in range(recipe.steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * learning_rate(step, recipe)
            loss = _batch_loss(towers, data, next(batches), tokenizer, recipe, rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(list(towers.parameters()), 5.0)
            optimiser.step()
            losses.append(loss.item())
            if (step + 1) % 20 == 0 or step + 1 == recipe.steps:
                report(Progress(step + 1, recipe.steps, float(np.mean(losses[-20:]))))
        towers.train(False)
        return towers


def learning_rate(step: int, recipe: Recipe) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine."""
    rising = max(1, round(recipe.warm_up * recipe.steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, recipe.steps - rising)))


def sample_patches(owners: NDArray[np.int64], recipe: Recipe, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches without end: every patient once before any comes again, its patches at random.

    Args:
        owners: (n,) patient of each patch.
        recipe: Patients and patches of a batch.
        rng: Where chance comes from.

    Yields:
        (patients * patches,) positions of patches; the patches of a patient are different ones where it has enough.
    """
    own = [np.flatnonzero(owners == patient) for patient in range(int(owners.max()) + 1)]
    size = min(recipe.patients, len(own))
    waiting: list[int] = []
    while True:
        if len(waiting) < size:
            waiting = [*waiting, *(p for p in rng.permutation(len(own)).tolist() if p not in waiting)]
        chosen, waiting = waiting[:size], waiting[size:]
        draws = [rng.choice(own[p], recipe.patches, replace=len(own[p]) < recipe.patches) for p in chosen]
        yield np.concatenate(draws)


def _batch_loss(
    towers: Towers,
    data: TrainingSet,
    chosen: NDArray[np.int64],
    tokenizer: Tokenizer,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Tensor:
    """Augment one batch and compute its loss."""
    turns = rng.integers(0, ORIENTATIONS, len(chosen))
    index = torch.from_numpy(chosen)
    he = jitter_stain(orient(data.he[index].to(torch.float32), turns), rng)
    mif, markers = _panel(data, chosen, int(rng.choice(recipe.channels)), rng)
    told = np.arange(0, len(chosen), recipe.patches)
    captions = [training_caption(data.facts[data.owners[patch]], data.narratives[patch], rng) for patch in chosen[told]]
    ids, mask = encode_batch(tokenizer, captions)
    return pairwise_clip(
        towers.he.embed(he),
        towers.mif.embed(orient(mif, turns), markers),
        towers.text.embed(ids, mask),
        torch.from_numpy(told),
    )


def _panel(data: TrainingSet, chosen: NDArray[np.int64], count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw `count` channels of each patch: (n, count, s, s) float32 and their rows of the marker table."""
    channels = choose_channels(data.measured[chosen], count, rng)
    rows = torch.from_numpy(chosen)[:, None]
    mif = data.mif[rows, torch.from_numpy(np.maximum(channels, 0))].to(torch.float32)
    return mif, torch.from_numpy(channels + 1)


def encode_batch(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Tokenise and pad texts to the longest: ids and mask, (n, l) int64 each."""
    rows = [tokenizer.encode(text).input_ids[0] for text in texts]
    length = max(len(row) for row in rows)
    ids = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def _groups(towers: Towers, decay: float) -> list[dict[str, object]]:
    """Two groups of parameters: matrices and kernels, which decay, and the rest, which does not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in towers.modules().values():
        for name, parameter in module.named_parameters():
            table = any(word in name for word in ("marker_table", "words", "positions", "places", "summary"))
            (free if parameter.ndim < 2 or table else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]


@contextlib.contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Let torch use only algorithms that repeat, with a fixed number of threads (sums depend on it)."""
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
