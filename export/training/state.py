"""The state of a training on disk: all that decides how it goes on, whole or not there."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from haiku_edge.runtime.atomic import atomic_open, output_error, sync_directory
from haiku_edge.runtime.errors import CheckpointIncompleteError, UsageError

from ..model import Towers, save_towers

VERSION = 1


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a dictionary of tensors, numbers and texts in one step.

    Raises:
        OutputNotWritableError, DiskFullError: It can't be written; an older state stays.
    """
    with atomic_open(path) as stream:
        torch.save({"version": VERSION, **state}, stream)


def read_state(path: Path, fingerprint: str) -> dict[str, Any]:
    """Read a state, running nothing pickled.

    Args:
        path: The file.
        fingerprint: What the training of today is; see `fingerprint_of`.

    Raises:
        CheckpointIncompleteError: The file is missing or damaged.
        UsageError: It is of another training.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointIncompleteError(
            f"{path} is damaged ({type(error).__name__}). Start the training again in a new folder."
        ) from None
    if state.get("version") != VERSION or state.get("fingerprint") != fingerprint:
        raise UsageError(
            f"{path.parent} is of a training with other data or other settings, which --resume can't change. Give the "
            "same ones, or start in a new folder."
        )
    return state


def fingerprint_of(*parts: object) -> str:
    """One digest of everything that decides a training: settings, sizes and data, by their `repr`."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()


def weights_digest(module: nn.Module) -> str:
    """One digest of all weights of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_towers(directory: Path, towers: Towers) -> None:
    """Write the towers as `read_towers` takes them; see `write_folder`."""
    write_folder(directory, lambda beside: save_towers(towers, beside))


def write_folder(directory: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside, which then takes the place of an older one.

    Raises:
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    beside, aside = directory.with_name(f".{directory.name}.part"), directory.with_name(f".{directory.name}.old")
    for leftover in (beside, aside):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        write(beside)
        if directory.exists():
            directory.rename(aside)
        beside.rename(directory)
        sync_directory(directory.parent)
    except OSError as error:
        raise output_error(error, directory) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
