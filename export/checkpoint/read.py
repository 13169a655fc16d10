"""Read a released Haiku checkpoint: all of it is checked before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import CheckpointIncompleteError

from ..model import Towers, TowersConfig
from .archive import MAX_STATE_BYTES
from .assign import PROTEIN_VECTORS, towers_from_state
from .compare import check_layout
from .esm import compare_esm
from .known import read_known
from .layout import expected_layout
from .settings import HaikuSettings, read_settings
from .state import read_state, state_file
from .tokenizer import read_tokenizer
from .values import check_values

STATEMENT = (
    "Made from a licensed Haiku checkpoint: the licence of its weights goes with this bundle, which may not be passed "
    "on without it. Nothing in it was validated for clinical use. For research use only."
)

MPP = 0.3775
"""Micrometres per pixel of a tile. The paper's own figure is not known; this is the default of a helper in the
published code (cell_seg_info.py), and what the scanner of the training data gives (PhenoCycler-Fusion, 20x)."""


@dataclass(frozen=True, slots=True)
class HaikuCheckpoint:
    """A released checkpoint of which every tensor was checked.

    Attributes:
        name: The folder's name.
        state: Released key → tensor. The tensors are mapped from the file, which must stay in its place.
        settings: Sizes and markers of config.json.
        tokenizer: Bytes of a tokenizer.json; None for a model without a text tower.
        state_file: The file that the tensors lie in.
        remarks: What is odd, yet harmless.
        known: Whom the weights have seen; of the published one nobody says.
    """

    name: str
    state: dict[str, Tensor]
    settings: HaikuSettings
    tokenizer: bytes | None
    state_file: Path
    remarks: tuple[str, ...]
    known: KnownPatients

    @property
    def config(self) -> TowersConfig:
        """Sizes of the towers."""
        return self.settings.towers

    @property
    def markers(self) -> tuple[str, ...]:
        """Names of the marker table's rows, from row 1 on."""
        return self.settings.markers

    @property
    def parameters(self) -> int:
        """Numbers in the state, with what no tower uses."""
        return sum(tensor.numel() for tensor in self.state.values() if tensor.is_floating_point())

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of tiles and patches."""
        return MPP

    @property
    def statement(self) -> str:
        """What a bundle of it says."""
        return STATEMENT

    @property
    def files(self) -> tuple[Path, ...]:
        """The file that holds the weights."""
        return (self.state_file,)

    def provenance(self) -> dict[str, Any]:
        """What a bundle says of where it comes from; no path of the machine."""
        return {
            "state_file": self.state_file.name,
            "parameters": self.parameters,
            "language_model": self.settings.language_model,
            "markers_with_a_learned_vector": list(self.settings.learned_markers),
            "micrometres_per_pixel": "default of a helper in the published code; the paper's own figure is not known",
            "remarks": list(self.remarks),
        }

    def with_markers(self, new: Mapping[str, NDArray[np.float32]]) -> HaikuCheckpoint:
        """The same with new markers behind the released ones; the released rows stay as they are.

        Args:
            new: Name → vector, from `haiku_edge.export.vocabulary.read_marker_vectors`, which checks them.
        """
        if not new:
            return self
        rows = {f"{PROTEIN_VECTORS}.{name}": torch.from_numpy(vector) for name, vector in new.items()}
        mif = replace(self.config.mif, markers=len(self.markers) + len(new))
        settings = replace(
            self.settings,
            towers=replace(self.config, mif=mif),
            esm_markers=(*self.settings.esm_markers, *new),
        )
        remark = f"The towers were not trained with these markers, added by a vector: {', '.join(new)}."
        return replace(self, state={**self.state, **rows}, settings=settings, remarks=(*self.remarks, remark))

    def towers(self) -> Towers:
        """The towers, whose weights are the mapped tensors themselves."""
        return towers_from_state(self.state, self.config, self.markers)


def read_checkpoint(
    directory: Path, *, sizes: TowersConfig | None = None, limit: int = MAX_STATE_BYTES
) -> HaikuCheckpoint:
    """Read and check a checkpoint's folder: `haiku_state_dict.pt`, `config.json`, `tokenizer/`, `esm_embeddings/`.

    Args:
        directory: The folder as it was released.
        sizes: Depths and heads, which config.json does not hold; the published ones by default.
        limit: Most bytes that the state file may have.

    Raises:
        CheckpointIncompleteError: A file is missing, or cut short.
        CheckpointUnsafeError: A file would have to run code, or is far too large.
        CheckpointLayoutError: A tensor, a field of config.json or the vocabulary is not as released.
        CheckpointValueError: Weights are no numbers.
    """
    if not directory.is_dir():
        raise CheckpointIncompleteError(
            f"{directory} is no folder. Name the folder that holds haiku_state_dict.pt, config.json and tokenizer/."
        )
    settings = read_settings(directory, sizes)
    text = settings.towers.text
    tokenizer = None if text is None else read_tokenizer(directory, text.vocabulary)
    file = state_file(directory)
    state = read_state(file, limit)
    layout = expected_layout(settings.towers, settings.esm_markers, settings.learned_markers)
    check_layout(state, layout, file.name)
    check_values(state, layout)
    remarks = compare_esm(directory, state)
    known = read_known(directory)
    return HaikuCheckpoint(directory.resolve().name, state, settings, tokenizer, file.resolve(), remarks, known)
