"""Checkpoints, read strictly and without running pickled code: the released layout, and what a training left."""

from __future__ import annotations

from .assign import towers_from_state
from .compare import Differences, compare_layout
from .known import read_known, write_known
from .layout import Entry, expected_layout
from .read import HaikuCheckpoint, read_checkpoint
from .settings import HaikuSettings, read_settings
from .state import read_state, unwrap_state
from .trained import TrainedCheckpoint, is_training, read_trained
from .types import Checkpoint

__all__ = [
    "Checkpoint",
    "Differences",
    "Entry",
    "HaikuCheckpoint",
    "HaikuSettings",
    "TrainedCheckpoint",
    "compare_layout",
    "expected_layout",
    "is_training",
    "read_checkpoint",
    "read_known",
    "read_settings",
    "read_state",
    "read_trained",
    "towers_from_state",
    "unwrap_state",
    "write_known",
]
