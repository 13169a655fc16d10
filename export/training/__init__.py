"""Training of the towers: the tri-modal loss, batches of patients, augmentation, the tokenizer."""

from __future__ import annotations

from .dataset import TrainingSet, prepare_training
from .fit import Progress, Recipe, train_towers
from .loss import pairwise_clip
from .tokenizer import train_tokenizer

__all__ = ["Progress", "Recipe", "TrainingSet", "pairwise_clip", "prepare_training", "train_tokenizer", "train_towers"]
