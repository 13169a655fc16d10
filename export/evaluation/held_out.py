"""The held-out patients of a bundle, as its own engines embed them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.engine import Engine
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from ..cohort import Section
from ..synthetic import MARKERS, Patient, known_facts

BATCH = 16
"""Tiles or patches that an engine takes at once: more does not go faster on a processor, and takes memory."""


@dataclass(frozen=True, slots=True)
class EmbeddedPart:
    """The patches of some patients as vectors.

    Attributes:
        patients: (n,) pseudonym of each patch's patient.
        sections: (n,) name of each patch's section.
        he: (n, d) float32.
        mif: (n, d) float32.
        text: (n, d) float32, of the metadata prompt alone.
        expression: (n, m) float32, mean intensity, NaN where not measured.
        expected: (n, m) float32, what the visible cells and the facts let one expect.
    """

    patients: NDArray[np.str_]
    sections: NDArray[np.str_]
    he: NDArray[np.float32]
    mif: NDArray[np.float32]
    text: NDArray[np.float32]
    expression: NDArray[np.float32]
    expected: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of the three towers, and the tokenizer of the text tower."""

    he: Engine
    mif: Engine
    text: Engine
    tokenizer: Tokenizer


def embed_part(engines: Engines, sections: Iterable[tuple[Patient, Section]]) -> EmbeddedPart:
    """Embed all patches of some patients, with the notes that they could have had before their outcome was known."""
    rows: list[tuple[NDArray[Any], ...]] = []
    for patient, section in sections:
        count = len(section.he)
        text = embed_prompt(engines, metadata_prompt(tuple(known_facts(patient.facts).items())))
        rows.append(
            (
                np.array([patient.identifier] * count),
                np.array([patient.section] * count),
                embed_tiles(engines.he, section.he),
                embed_patches(engines.mif, section.mif, panel_rows(patient.panel)),
                np.repeat(text[None], count, axis=0),
                section.expression,
                section.expected,
            )
        )
    return EmbeddedPart(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def panel_rows(panel: Iterable[str]) -> NDArray[np.int64]:
    """Rows of the marker table that a panel uses: a marker's place in MARKERS, plus 1."""
    return np.array([MARKERS.index(marker) + 1 for marker in panel], np.int64)


def embed_prompt(engines: Engines, prompt: str) -> NDArray[np.float32]:
    """Embed one text: (d,)."""
    tokens = engines.tokenizer.encode(prompt)
    vectors: NDArray[np.float32] = engines.text(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    return np.asarray(vectors[0])


def embed_tiles(engine: Engine, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed H&E tiles: (n, d)."""
    return np.concatenate([engine(tiles=tiles[i : i + BATCH]) for i in range(0, len(tiles), BATCH)])


def embed_patches(engine: Engine, mif: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Embed the channels of mIF patches that stand in `rows` of the marker table: (n, d)."""
    own = np.ascontiguousarray(mif[:, rows - 1])
    markers = np.repeat(rows[None], len(own), axis=0)
    parts = range(0, len(own), BATCH)
    return np.concatenate([engine(patches=own[i : i + BATCH], markers=markers[i : i + BATCH]) for i in parts])
