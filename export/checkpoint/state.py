"""The state: a dictionary of tensors, out of whatever it was wrapped in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError

from .archive import MAX_STATE_BYTES, load_archive
from .files import check_file

STATE_FILE = "haiku_state_dict.pt"
SAFETENSORS_FILES = ("haiku_state_dict.safetensors", "model.safetensors")
"""Read where the released file is not there: the same tensors without any pickle."""

WRAPPERS = ("model_state_dict", "state_dict")
PARALLEL = "module."
"""What PyTorch's data-parallel wrappers put before every key."""

OLD_EXTRAS = (
    "text_encoder.text_encoder.embeddings.position_ids",
    "text_encoder.text_encoder.embeddings.token_type_ids",
)
"""Counters that older versions of transformers saved; they hold nothing that was learned."""


def state_file(directory: Path) -> Path:
    """The file with the weights: the released one, or its safetensors form where that alone is there."""
    found = (directory / name for name in SAFETENSORS_FILES if (directory / name).is_file())
    released = directory / STATE_FILE
    return released if released.exists() else next(found, released)


def read_state(path: Path, limit: int = MAX_STATE_BYTES) -> dict[str, Tensor]:
    """Read a state file; its tensors stay on the disk, mapped.

    Raises:
        CheckpointIncompleteError: The file is missing, cut short or damaged.
        CheckpointUnsafeError: It would have to run code, or is too large.
        CheckpointLayoutError: It holds no dictionary of tensors.
    """
    if path.suffix != ".safetensors":
        return unwrap_state(load_archive(path, limit), path.name)
    check_file(path, limit)
    try:
        return unwrap_state(load_file(path), path.name)
    except (SafetensorError, OSError) as error:
        raise CheckpointIncompleteError(
            f"{path.name} is damaged or cut short ({type(error).__name__}). Download the checkpoint again."
        ) from None


def unwrap_state(loaded: Any, name: str) -> dict[str, Tensor]:
    """Take the dictionary of tensors out of its wrappers.

    Known are: a tuple whose first item it is (the mIF tower's own training), `model_state_dict` (or `state_dict`),
    keys that all begin with `module.`, and counters that older libraries saved.

    Raises:
        CheckpointLayoutError: There is no dictionary of tensors inside.
    """
    if isinstance(loaded, tuple | list) and loaded:
        loaded = loaded[0]
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointLayoutError(f"{name} holds no dictionary of tensors. Take the released file.")
    others = [key for key, value in loaded.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if others:
        raise CheckpointLayoutError(
            f"{name} holds {len(others)} entries that are no tensors, such as {str(others[0])[:100]!r}. "
            "Take the released file."
        )
    state: dict[str, Tensor] = dict(loaded)
    if all(key.startswith(PARALLEL) for key in state):
        state = {key.removeprefix(PARALLEL): value for key, value in state.items()}
    return {key: _plain(value) for key, value in state.items() if key not in OLD_EXTRAS}


def _plain(tensor: Tensor) -> Tensor:
    """A trained parameter is a tensor as any other here."""
    return tensor.detach() if tensor.layout == torch.strided else tensor
