"""Golden inputs for any model: simulated tissue and notes, the same for everybody, with no patient in them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from ..synthetic import render_region, simulate_cohort
from ..texts import encode_texts

CASES = 8
"""Enough to judge an engine by the neighbours of its vectors; a tile takes a full-size tower two seconds."""

CHANNELS = 5
SIDE = 256
_SEED = 907

Inputs = dict[str, dict[str, NDArray[Any]]]
"""Tower → input name → array."""


def golden_inputs(markers: int, tokenizer: Tokenizer | None) -> Inputs:
    """Draw the inputs of each tower.

    Args:
        markers: Rows of the marker table, without row 0.
        tokenizer: The text tower's; None for a model without one.

    Returns:
        Tower ('he', 'mif', 'text') → input name → array, `CASES` rows each. All mIF patches but the first have a
        channel less, and the texts differ in length, so that padding is in it.
    """
    patients = simulate_cohort(CASES, seed=_SEED)
    regions = [render_region(patient, SIDE, SIDE) for patient in patients]
    channels = min(CHANNELS, markers)
    mif = np.stack([region.mif[region.measured][:channels] for region in regions])
    rows = np.tile(np.arange(1, channels + 1), (CASES, 1))
    mif[1:, channels - 1 :], rows[1:, channels - 1 :] = 0, 0
    inputs: Inputs = {
        "he": {"tiles": np.stack([region.he for region in regions])},
        "mif": {"patches": mif, "markers": rows},
    }
    if tokenizer is not None:
        texts = [metadata_prompt(tuple(patient.facts.items())[: 3 + 9 * i]) for i, patient in enumerate(patients)]
        inputs["text"] = encode_texts(tokenizer, texts)
    return inputs


def golden_arrays(inputs: Inputs, vectors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The golden cases as an NPZ file, under the names that the self-test reads."""
    arrays: dict[str, Any] = {f"{tower}_vectors": values for tower, values in vectors.items()}
    for tower, own in inputs.items():
        arrays.update({name if tower == "text" else f"{tower}_{name}": array for name, array in own.items()})
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return sink.getvalue()
