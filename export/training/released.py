"""Trained towers in the released layout, so that `haiku-edge export haiku` takes them as it takes the original."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from haiku_edge.runtime.atomic import atomic_open, atomic_write, make_directory

from ..checkpoint import Entry, expected_layout
from ..checkpoint.assign import he_keys, mif_keys, text_keys
from ..checkpoint.layout import ESM, LEARNED, POSITION_OFFSET
from ..checkpoint.settings import CONFIG_FILE
from ..checkpoint.state import STATE_FILE
from ..checkpoint.tokenizer import FOLDER, WHOLE_FILE
from ..model import Towers, TowersConfig, published_config
from ..model.rotary import axis_angles

_TABLE = "encoder.marker_table.vectors"
_POSITIONS = "encoder.positions"
_SEGMENT = "encoder.segment"


def write_released(
    directory: Path,
    towers: Towers,
    markers: Sequence[str],
    tokenizer: bytes | None,
    base: Mapping[str, Tensor] | None = None,
    esm: Sequence[str] = (),
) -> None:
    """Write `haiku_state_dict.pt`, `config.json` and `tokenizer/`.

    Args:
        directory: The folder.
        towers: Towers without a convolutional stem, which the released layout has no keys for.
        markers: Rows of the marker table, from row 1 on.
        tokenizer: Bytes of a tokenizer.json; None for a model of two modalities.
        base: The state that the training began with: what no tower uses is taken from there, and is zero without it.
        esm: Markers whose vector is a protein's; the others count as learned.

    Raises:
        ValueError: The towers have a stem.
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    make_directory(directory / FOLDER)
    state = released_state(towers, markers, base or {}, esm)
    with atomic_open(directory / STATE_FILE) as stream:
        torch.save(state, stream)
    if tokenizer is not None:
        atomic_write(directory / FOLDER / WHOLE_FILE, tokenizer)
    config = json.dumps(released_config(towers, markers, esm), indent=1) + "\n"
    atomic_write(directory / CONFIG_FILE, config.encode())


def fits_released(config: TowersConfig) -> bool:
    """Whether the released layout can hold towers of these sizes: what its config.json does not say, such as depths,
    must be as published."""
    text = config.text
    base = published_config(config.mif.markers, text=text is not None)
    he = replace(base.he, width=config.he.width)
    mif = replace(base.mif, width=config.mif.width, marker_width=config.mif.marker_width)
    bert = None if text is None or base.text is None else replace(base.text, width=text.width)
    return replace(base, dimension=config.dimension, he=he, mif=mif, text=bert) == config


def released_config(towers: Towers, markers: Sequence[str], esm: Sequence[str] = ()) -> dict[str, Any]:
    """The released config.json; depths and heads beside it, which the original leaves to its code."""
    config, text = towers.config, towers.config.text
    return {
        "codex_dim": config.mif.width,
        "marker_model_dim": config.mif.width,
        "embedding_dim": config.mif.marker_width,
        "he_dim": config.he.width,
        "text_dim": 0 if text is None else text.width,
        "projection_dim": config.dimension,
        "shared_projection": False,
        "use_text": text is not None,
        "esm_marker_names": [name for name in markers if name in set(esm)],
        "known_markers": [name for name in markers if name not in set(esm)],
    }


def released_state(
    towers: Towers, markers: Sequence[str], base: Mapping[str, Tensor], esm: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The released keys and shapes, filled with the towers' weights; see `write_released`."""
    config = towers.config
    if config.he.stem:
        raise ValueError("The released layout has no keys for a convolutional stem.")
    protein = tuple(name for name in markers if name in set(esm))
    layout = expected_layout(config, protein, tuple(name for name in markers if name not in protein))
    state = {key: _unused(key, entry, base) for key, entry in layout.items()}
    pairs = {"he": he_keys(config.he.layers), "mif": mif_keys(len(config.mif.blocks))}
    if config.text is not None:
        pairs["text"] = text_keys(config.text.layers)
    for tower, keys in pairs.items():
        weights = towers.modules()[tower].state_dict()
        for own, key in keys:
            value = weights[own].detach().cpu()
            if own == _TABLE:
                state.update(_marker_vectors(value, markers, protein))
            elif own == _POSITIONS and tower == "he":
                state[key] = torch.cat([state[key][:POSITION_OFFSET], value])
            elif own == _SEGMENT:
                state[key] = torch.cat([value[None], state[key][1:]])
            else:
                state[key] = value.reshape(state[key].shape)
    return state


def _unused(key: str, entry: Entry, base: Mapping[str, Tensor]) -> Tensor:
    """What the released layout holds beside the towers' weights: the base's, the rotary tables, or zeros."""
    if key in base and tuple(base[key].shape) == entry.shape:
        return base[key].detach().clone()
    if ".rope1d." in key:
        angles = axis_angles(*entry.shape)
        turned = np.sin(angles) if key.endswith(".sin") else np.cos(angles)
        return torch.from_numpy(np.concatenate([turned, turned], axis=1).astype(np.float32))
    return torch.zeros(entry.shape, dtype=torch.int64 if entry.dtype == "int64" else torch.float32)


def _marker_vectors(table: Tensor, markers: Sequence[str], protein: Sequence[str]) -> dict[str, Tensor]:
    prefixes = {name: ESM if name in protein else LEARNED for name in markers}
    return {prefixes[name] + name: row.clone() for name, row in zip(markers, table, strict=True)}
