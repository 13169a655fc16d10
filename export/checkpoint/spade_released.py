"""Released SPADE checkpoints: a file an expert under either naming scheme, centroids and their map beside them.

The released router loads with `strict=False` under other keys, and so could run random experts in silence. Here every
tensor must be in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError

from ..model import MixtureConfig
from .archive import load_archive
from .spade_parts import (
    CENTROIDS_FILE,
    MAP_FILE,
    MAX_EXPERT_BYTES,
    Head,
    SpadeCheckpoint,
    check_checkpoint,
    read_clustering,
)
from .state import unwrap_state

NAMES: Final = (
    re.compile(r"(?P<run>.+)_best_proto(?P<expert>\d{1,4})_ep(?P<epoch>\d+)_val(?P<loss>.+)\.pt"),
    re.compile(r"ep(?P<epoch>\d+)_trloss.+_valloss(?P<loss>.+)_proto(?P<expert>\d{1,4})\.pt"),
)
"""Names of an expert's file: as the training of today writes them, and as it once did and the router expects."""

_WRAPPER = "model"
_NUMBER = "proto"
_IMAGE, _SPOT = "image_projection.", "spot_projection."
_SHOWN = 5


def expert_files(folder: Path) -> dict[int, Path]:
    """Expert → its file, in order.

    Raises:
        CheckpointLayoutError: A `.pt` file's name is of neither scheme, or two files are of one expert.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.pt")):
        match = next(filter(None, (pattern.fullmatch(path.name) for pattern in NAMES)), None)
        if match is None:
            raise CheckpointLayoutError(
                f"{path.name} is named as no file of an expert is (…_best_proto3_ep012_val….pt, or "
                "ep12_trloss…_valloss…_proto3.pt). Move it out of the folder."
            )
        number = int(match["expert"])
        if number in found:
            raise CheckpointLayoutError(
                f"Expert {number} has two files, {found[number].name} and {path.name}, and nothing says which counts. "
                "Leave one of them in the folder."
            )
        found[number] = path
    return dict(sorted(found.items()))


def read_released(folder: Path, *, limit: int = MAX_EXPERT_BYTES) -> SpadeCheckpoint:
    """Read a folder with `centroids.npy`, `reassigned_clusters.npy` and a `.pt` file an expert.

    Args:
        folder: The folder.
        limit: Most bytes that a file of an expert may have.

    Raises:
        CheckpointIncompleteError: A file is missing, or cut short.
        CheckpointUnsafeError: A file would have to run code, or is far too large.
        CheckpointLayoutError: The files are not those of one run, or a tensor is not in its place.
        CheckpointValueError: A weight or centroid is no number.
    """
    files = expert_files(folder)
    if not files:
        raise CheckpointIncompleteError(f"{folder} holds no expert's .pt file. Name the folder of a SPADE checkpoint.")
    centroids, expert_of = read_clustering(folder)
    _check_numbers(set(files), set(expert_of.tolist()))
    states = {number: _read_expert(path, number, limit) for number, path in files.items()}
    images = tuple(_part(state, _IMAGE) for state in states.values())
    config = MixtureConfig(
        features=centroids.shape[1], width=_width(images[0]), experts=len(files), centroids=len(centroids)
    )
    checkpoint = SpadeCheckpoint(
        config=config,
        centroids=centroids,
        expert_of=expert_of,
        image_heads=images,
        spot_heads=tuple(_part(state, _SPOT) for state in states.values()),
        about={"form": "released", "experts": [path.name for path in files.values()]},
        files=(*files.values(), *(folder / name for name in (CENTROIDS_FILE, MAP_FILE))),
    )
    check_checkpoint(checkpoint)
    return checkpoint


def _check_numbers(present: set[int], named: set[int]) -> None:
    """Every expert that the map names has a file, and every file is named."""
    missing, foreign = sorted(named - present), sorted(present - named)
    if missing:
        raise CheckpointIncompleteError(
            f"{MAP_FILE} sends centroids to {_experts(missing)}, of which there is no file. "
            "Copy the whole checkpoint; a mixture without an expert can't be exported."
        )
    if foreign:
        raise CheckpointLayoutError(
            f"No centroid belongs to {_experts(foreign)}, of which there is a file. "
            f"{MAP_FILE} and the experts are of different runs; take them from one."
        )


def _experts(numbers: list[int]) -> str:
    rest = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"expert{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:_SHOWN]))}{rest}"


def _read_expert(path: Path, number: int, limit: int) -> dict[str, Tensor]:
    """An expert's tensors, out of `model`, `state_dict`, or bare; its number must be that of the file's name."""
    loaded: Any = load_archive(path, limit)
    if isinstance(loaded, Mapping):
        stated = loaded.get(_NUMBER)
        if isinstance(stated, int | np.integer) and int(stated) != number:
            raise CheckpointLayoutError(
                f"{path.name} holds expert {int(stated)}, not {number}. Take the file as it was released."
            )
        loaded = loaded[_WRAPPER] if isinstance(loaded.get(_WRAPPER), Mapping) else loaded
    state = unwrap_state(loaded, path.name)
    foreign = sorted(key for key in state if not key.startswith((_IMAGE, _SPOT)))
    if foreign:
        shown = ", ".join(ascii(key)[1:-1][:100] for key in foreign[:_SHOWN])
        raise CheckpointLayoutError(
            f"{path.name} holds {len(foreign)} tensors that no expert has: {shown}. "
            "An expert has image_projection.* and spot_projection.*; take the file as it was released."
        )
    return state


def _part(state: Mapping[str, Tensor], prefix: str) -> Head:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _width(head: Head) -> int:
    """Length of an embedding as the first head says; published where it doesn't."""
    bias = head.get("fc.bias", torch.empty(MixtureConfig(1).width))
    return max(bias.numel(), 1)
