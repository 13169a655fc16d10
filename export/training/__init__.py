"""Training of the towers: the contrastive stage, the mIF masked autoencoder, the embedded bundle's own run."""

from __future__ import annotations

from .dataset import TrainingSet, prepare_training
from .fit import Progress, Recipe, Sampling, train_towers
from .loop import fit
from .loss import TEMPERATURE, ContrastiveLoss, LossSettings
from .schedule import Schedule
from .tokenizer import train_tokenizer
from .trainer import LoopSettings, Outcome, Trainer
from .tuning import PUBLISHED_TUNING, Rates, Tuning

__all__ = [
    "PUBLISHED_TUNING",
    "TEMPERATURE",
    "ContrastiveLoss",
    "LoopSettings",
    "LossSettings",
    "Outcome",
    "Progress",
    "Rates",
    "Recipe",
    "Sampling",
    "Schedule",
    "Trainer",
    "TrainingSet",
    "Tuning",
    "fit",
    "prepare_training",
    "train_tokenizer",
    "train_towers",
]
