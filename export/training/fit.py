"""The embedded bundle's towers: trained together, from random weights, on the simulated cohort."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from haiku_edge.runtime.notes import Tokenizer

from ..model import Towers, TowersConfig, build_towers
from .cohort_source import CohortSource, Sampling, encode_batch
from .dataset import TrainingSet
from .loop import Progress, Report, fit
from .loss import LossSettings
from .schedule import Schedule
from .state import fingerprint_of
from .trainer import LoopSettings, Trainer
from .tuning import Rates

__all__ = ["Progress", "Recipe", "Sampling", "encode_batch", "train_towers"]

KEPT_EVERY = 100
"""Steps between states on disk."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the embedded towers are trained.

    Attributes:
        steps: Batches.
        sampling: What a batch is made of.
        rate: Peak learning rate; rises over `warm_up`, then falls as a cosine to zero.
        warm_up: Share of the steps with a rising rate.
        decay: Weight decay of matrices (not of biases, norms and tables).
        loss: How samples are compared. The notes are the same all over a patient, so that patches of one patient are
            no negatives in the pairs with text; between H&E and mIF they are the hardest ones.
        threads: Processor threads.
    """

    steps: int = 1600
    sampling: Sampling = field(default_factory=Sampling)
    rate: float = 1e-3
    warm_up: float = 0.06
    decay: float = 0.05
    loss: LossSettings = field(default_factory=lambda: LossSettings(notes_region_weight=0.0))
    threads: int = 2

    @property
    def patients(self) -> int:
        """Patients in a batch."""
        return self.sampling.patients

    @property
    def patches(self) -> int:
        """Patches of each of them."""
        return self.sampling.patches

    def settings(self, seed: int) -> LoopSettings:
        """The loop's settings."""
        return LoopSettings(
            schedule=Schedule(self.steps, round(self.warm_up * self.steps)),
            loss=self.loss,
            rates=Rates.same(self.rate),
            decay=self.decay,
            clip=5.0,
            at_once=self.sampling.patients * self.sampling.patches,
            seed=seed,
            check_every=KEPT_EVERY,
            threads=self.threads,
        )


def train_towers(
    data: TrainingSet,
    config: TowersConfig,
    tokenizer: Tokenizer,
    recipe: Recipe,
    seed: int,
    report: Report = lambda _: None,
    *,
    folder: Path | None = None,
    resume: bool = False,
) -> Towers:
    """Train from random weights; the same data, recipe, seed and machine give the same towers.

    Args:
        data: Training patches.
        config: Sizes of the towers.
        tokenizer: The text tower's tokenizer.
        recipe: How to train.
        seed: Seeds weights, batches and augmentation.
        report: Called every 20 batches.
        folder: Where state and logs are kept; nothing is kept without it.
        resume: Go on from the folder's state.
    """
    trainer = Trainer(build_towers(config, seed), recipe.settings(seed), torch.device("cpu"))
    source = CohortSource(data, tokenizer, recipe.sampling, seed)
    fit(trainer, source, report, folder=folder, fingerprint=fingerprint_of(config, recipe, seed), resume=resume)
    return trainer.towers
