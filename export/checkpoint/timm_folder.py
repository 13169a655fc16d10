"""The folder of a timm checkpoint (UNI, UNI2-h, Virchow2, …): config.json and weights, read strictly, nothing run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from haiku_edge.runtime.errors import CheckpointError, CheckpointIncompleteError

from ..model.tile_encoder import TileEncoder, TileEncoderConfig
from .archive import MAX_STATE_BYTES
from .compare import check_layout
from .layout import Entry
from .settings import CONFIG_FILE, read_config
from .state import read_state
from .timm_config import parse_config, states_feed
from .values import check_values

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
"""In the order in which they are taken where both are there."""

MPP = 0.5
"""Micrometres per pixel of a tile: 20x, at which UNI, UNI2-h and Virchow2 were published and SPADE's tiles are cut."""

_GUESSED = (
    "config.json does not say that the feed-forward layers are SwiGLUPacked with SiLU, as no such file can; "
    "the shapes of the weights do."
)


@dataclass(frozen=True, slots=True)
class TimmCheckpoint:
    """A timm checkpoint of which every tensor was checked.

    Attributes:
        name: The folder's name.
        architecture: timm's name of it.
        config: Sizes of the encoder, and how it prepares a tile.
        state: timm's key → tensor; the tensors may be mapped from the file, which must stay in its place.
        state_file: The file that the tensors lie in.
        remarks: What is odd, yet harmless.
    """

    name: str
    architecture: str
    config: TileEncoderConfig
    state: dict[str, Tensor]
    state_file: Path
    remarks: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Numbers in the state."""
        return sum(tensor.numel() for tensor in self.state.values())

    @property
    def files(self) -> tuple[Path, ...]:
        """The file that holds the weights."""
        return (self.state_file,)

    def encoder(self) -> TileEncoder:
        """The encoder in evaluation, whose weights are the state's own tensors."""
        encoder = _empty(self.config)
        encoder.vit.load_state_dict(self.state, strict=True, assign=True)
        return encoder.eval()

    def provenance(self) -> dict[str, Any]:
        """What a bundle says of where its encoder comes from; no path of the machine."""
        return {
            "state_file": self.state_file.name,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "micrometres_per_pixel": "given to the export; config.json of a timm checkpoint does not state it",
            "remarks": list(self.remarks),
        }


def is_timm(folder: Path) -> bool:
    """Whether a folder's config.json is one of timm's, which name an architecture."""
    with contextlib.suppress(CheckpointError):
        return "architecture" in read_config(folder)
    return False


def read_timm(
    folder: Path, *, mpp: float = MPP, tile: int | None = None, limit: int = MAX_STATE_BYTES
) -> TimmCheckpoint:
    """Read and check `config.json` with `model.safetensors` or `pytorch_model.bin`.

    Args:
        folder: The folder as timm or a model hub's client wrote it.
        mpp: Micrometres per pixel of a tile.
        tile: Side of an incoming tile in pixels; by default what the network takes, so that nothing is resized.
        limit: Most bytes that the file of weights may have.

    Raises:
        CheckpointIncompleteError: A file is missing, or cut short.
        CheckpointUnsafeError: A file would have to run code, or is far too large.
        CheckpointLayoutError: The architecture is not built here, or a tensor or field is not as it should be.
        CheckpointValueError: Weights are no numbers.
    """
    file = _weights_file(folder)
    values = read_config(folder)
    state = read_state(file, limit)
    packed = _is_packed(state)
    config = parse_config(values, packed=packed, mpp=mpp, tile=tile)
    layout = expected_weights(config)
    check_layout(state, layout, file.name)
    check_values(state, layout)
    remarks = (_GUESSED,) if packed and not states_feed(values) else ()
    return TimmCheckpoint(folder.resolve().name, values["architecture"], config, state, file.resolve(), remarks)


def expected_weights(config: TileEncoderConfig) -> dict[str, Entry]:
    """Every key that timm saves for these sizes, with its shape."""
    return {key: Entry(tuple(tensor.shape)) for key, tensor in _empty(config).vit.state_dict().items()}


def _empty(config: TileEncoderConfig) -> TileEncoder:
    """The encoder with its arithmetic, and weights that take no memory."""
    with torch.device("meta"):
        return TileEncoder(config)


def _weights_file(folder: Path) -> Path:
    found = [folder / name for name in WEIGHTS_FILES if (folder / name).exists()]
    if not found or not (folder / CONFIG_FILE).exists():
        missing = CONFIG_FILE if found else " or ".join(WEIGHTS_FILES)
        raise CheckpointIncompleteError(
            f"{folder} does not hold {missing}. Name a folder with timm's config.json and model.safetensors or "
            "pytorch_model.bin in it, as the model's page offers them."
        )
    return found[0]


def _is_packed(state: Mapping[str, Tensor]) -> bool:
    """Whether the first feed-forward matrix has twice the rows that the second takes."""
    first, second = (state.get(f"blocks.0.mlp.fc{number}.weight") for number in (1, 2))
    if first is None or second is None or first.ndim != 2 or second.ndim != 2:
        return False
    return first.shape[0] == 2 * second.shape[1]
