"""The folder of a training (`haiku-edge train haiku`) as a checkpoint that can be exported."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError, CheckpointValueError

from ..dataset import PUBLISHED_MPP
from ..model import Towers, TowersConfig, count_parameters, read_towers
from .known import PATIENTS_FILE, RUN_FILE, read_known

TOWERS_FOLDER = "towers"
TOKENIZER_FILE = "tokenizer/tokenizer.json"
STATEMENT = (
    "Made from towers that the owner of this bundle trained. Nothing in it was validated for clinical use. For "
    "research use only."
)


@dataclass(frozen=True, slots=True)
class TrainedCheckpoint:
    """What a training left, read and checked.

    Attributes:
        folder: The training's folder.
        trained: The best towers.
        markers: Names of the marker table's rows, from row 1 on.
        tokenizer: Bytes of a tokenizer.json; None for a model without a text tower.
        mpp: Micrometres per pixel of the training's patches.
        steps: Batches of the training.
        known: Whom the towers have seen.
    """

    folder: Path
    trained: Towers
    markers: tuple[str, ...]
    tokenizer: bytes | None
    mpp: float
    steps: int
    known: KnownPatients

    @property
    def config(self) -> TowersConfig:
        """Sizes of the towers."""
        return self.trained.config

    @property
    def statement(self) -> str:
        """What the bundle says its numbers are worth."""
        return STATEMENT

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is odd, yet harmless: nothing."""
        return ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The towers' files."""
        return tuple(self.folder / TOWERS_FOLDER / f"{name}.pt" for name in self.trained.modules())

    def towers(self) -> Towers:
        """The towers, in evaluation."""
        return self.trained

    def provenance(self) -> dict[str, Any]:
        """What the bundle says of where it comes from."""
        parameters = sum(count_parameters(module) for module in self.trained.modules().values())
        return {"trained_by": "haiku-edge train haiku", "batches": self.steps, "parameters": parameters}


def is_training(folder: Path) -> bool:
    """Whether a folder is one that `haiku-edge train haiku` wrote."""
    return (folder / RUN_FILE).is_file() and (folder / TOWERS_FOLDER).is_dir()


def read_trained(folder: Path) -> TrainedCheckpoint:
    """Read what `haiku-edge train haiku` left in its folder.

    Raises:
        CheckpointIncompleteError: The training has no finished towers, or a file is missing or damaged.
        CheckpointLayoutError: The parts do not fit each other, or the patients' digests are damaged.
        CheckpointValueError: Weights are no numbers.
    """
    try:
        run = json.loads((folder / RUN_FILE).read_bytes())
        towers = read_towers(folder / TOWERS_FOLDER)
        tokenizer = None if towers.text is None else (folder / TOKENIZER_FILE).read_bytes()
        markers, mpp, steps = tuple(map(str, run["markers"])), float(run["mpp"] or PUBLISHED_MPP), int(run["steps"])
    except (OSError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise _incomplete(folder, error) from None
    except RuntimeError as error:  # torch's own, for a damaged archive and for tensors that do not fit
        raise _incomplete(folder, error) from None
    if len(markers) != towers.config.mif.markers:
        raise CheckpointLayoutError(
            f"{folder.name} names {len(markers)} markers, and its mIF tower has {towers.config.mif.markers}. Train it "
            "again."
        )
    _check_numbers(folder, towers)
    beside = folder / TOWERS_FOLDER
    known = read_known(beside if (beside / PATIENTS_FILE).is_file() else folder)
    return TrainedCheckpoint(folder, towers, markers, tokenizer, mpp, steps, known)


def _check_numbers(folder: Path, towers: Towers) -> None:
    for name, module in towers.modules().items():
        if not all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters()):
            raise CheckpointValueError(f"The {name} tower of {folder.name} holds weights that are no numbers.")


def _incomplete(folder: Path, error: Exception) -> CheckpointIncompleteError:
    return CheckpointIncompleteError(
        f"{folder.name} has no finished towers to export ({type(error).__name__}). Let `haiku-edge train haiku` end, "
        "with --resume if it was stopped."
    )
