"""The mIF encoder that the masked autoencoder leaves for the contrastive stage."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from haiku_edge.runtime.atomic import atomic_open, atomic_write
from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError

from ..model import MifConfig
from .masked import MaskedAutoencoder

WEIGHTS_FILE = "mif_encoder.pt"
CONFIG_FILE = "mif_encoder.json"
_PREFIX = "encoder."


@dataclass(frozen=True, slots=True)
class TrainedMif:
    """A trained mIF encoder.

    Attributes:
        config: Its sizes.
        markers: Rows of its marker table, from row 1 on.
        weights: Its state dict, keys without prefix.
    """

    config: MifConfig
    markers: tuple[str, ...]
    weights: dict[str, Tensor]


def write_mif_encoder(folder: Path, model: MaskedAutoencoder, markers: Sequence[str]) -> None:
    """Write the whole autoencoder (`encoder.*` is what the mIF tower takes over) and what it is.

    Raises:
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    about = {"config": asdict(model.config), "markers": list(markers)}
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    with atomic_open(folder / WEIGHTS_FILE) as stream:
        torch.save(state, stream)
    atomic_write(folder / CONFIG_FILE, (json.dumps(about, indent=1) + "\n").encode())


def read_mif_encoder(folder: Path) -> TrainedMif:
    """Read what `write_mif_encoder` wrote, running nothing pickled.

    Raises:
        CheckpointIncompleteError: A file is missing or damaged.
        CheckpointLayoutError: A file is another one.
    """
    try:
        about = json.loads((folder / CONFIG_FILE).read_bytes())
        state = torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointIncompleteError(
            f"{folder} holds no mIF encoder, or a damaged one ({type(error).__name__}). Name the folder of a "
            "`haiku-edge train mif` run."
        ) from None
    try:
        config, markers = MifConfig(**about["config"]), tuple(map(str, about["markers"]))
        weights = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    except (TypeError, KeyError, AttributeError):
        raise CheckpointLayoutError(f"{CONFIG_FILE} does not say what mIF encoder it is. Train it again.") from None
    if config.markers != len(markers):
        raise CheckpointLayoutError(f"{CONFIG_FILE} names {len(markers)} markers for a table of {config.markers}.")
    return TrainedMif(config, markers, weights)
