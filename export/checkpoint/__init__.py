"""Checkpoints, read strictly and without running pickled code: Haiku, SPADE, timm, and what a training left."""

from __future__ import annotations

from .assign import towers_from_state
from .compare import Differences, compare_layout
from .known import read_known, write_known
from .layout import Entry, expected_layout
from .read import HaikuCheckpoint, read_checkpoint
from .settings import HaikuSettings, read_settings
from .spade import SpadeCheckpoint, clustering_digest, read_spade, write_spade
from .state import read_state, unwrap_state
from .timm_folder import TimmCheckpoint, is_timm, read_timm
from .trained import TrainedCheckpoint, is_training, read_trained
from .types import Checkpoint

__all__ = [
    "Checkpoint",
    "Differences",
    "Entry",
    "HaikuCheckpoint",
    "HaikuSettings",
    "SpadeCheckpoint",
    "TimmCheckpoint",
    "TrainedCheckpoint",
    "clustering_digest",
    "compare_layout",
    "expected_layout",
    "is_timm",
    "is_training",
    "read_checkpoint",
    "read_known",
    "read_settings",
    "read_spade",
    "read_state",
    "read_timm",
    "read_trained",
    "towers_from_state",
    "unwrap_state",
    "write_known",
    "write_spade",
]
