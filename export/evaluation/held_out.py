"""Simulated patients as a bundle's own engines embed them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.engine import Engine
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from ..captions import POSITIVE, describe_patterns, narrate, region_z
from ..cohort import PATCH, Part, Section, Split
from ..synthetic import MARKERS, MPP, Patient, known_facts
from .embedded_cohort import EmbeddedCohort

BATCH = 16
"""Tiles or patches that an engine takes at once: more does not go faster on a processor, and takes memory."""

POSITIVE_SHARE = 0.02
"""Share of a simulated patch's area: about four cells."""

POSITIVITY = (
    f"A patch is positive for a marker where at least {POSITIVE_SHARE:.0%} of its pixels exceed {POSITIVE} of 255."
)
"""When a simulated patch counts as positive, for `AtlasSection.positivity`."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of the three towers, and the tokenizer of the text tower."""

    he: Engine
    mif: Engine
    text: Engine
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A bundle with the simulated patients that it is measured on.

    Attributes:
        bundle: The bundle.
        split: How the cohort was split.
        seed: Seed of the cohort.
        part: The held-out patients and their sections.
        engines: The bundle's towers.
        cohort: The patients as these embed them, in the order of the sections.
        galleries: Other regions of the same patients, several each, in patches that overlap.
    """

    bundle: Bundle
    split: Split
    seed: int
    part: Part
    engines: Engines
    cohort: EmbeddedCohort
    galleries: EmbeddedCohort


def embed_part(engines: Engines, sections: Iterable[tuple[Patient, Section]]) -> EmbeddedCohort:
    """Embed all patches of some simulated patients.

    The notes (`text`) and the captions hold what was known before the outcome was; the facts beside them hold all.
    """
    return join_cohorts([_embed_patient(engines, patient, section) for patient, section in sections])


def _embed_patient(engines: Engines, patient: Patient, section: Section) -> EmbeddedCohort:
    count = len(section.he)
    prompt = metadata_prompt(tuple(known_facts(patient.facts).items()))
    text = embed_prompt(engines, prompt)
    captions = [embed_prompt(engines, prompt + narrative) for narrative in _narratives(section)]
    measured = np.isfinite(section.expression)
    places = section.origins.astype(np.float32) * np.float32(MPP)
    return EmbeddedCohort(
        markers=MARKERS,
        patches=np.array([f"{patient.section}-{number:02d}" for number in range(1, count + 1)]),
        regions=np.array([patient.section] * count),
        patients=np.array([patient.identifier] * count),
        x=places[:, 0],
        y=places[:, 1],
        side=PATCH * MPP,
        vectors={
            "he": embed_tiles(engines.he, section.he),
            "mif": embed_patches(engines.mif, section.mif, panel_rows(patient.panel)),
            "text": np.repeat(text[None], count, axis=0),
            "caption": np.stack(captions),
        },
        expression=section.expression,
        positive=np.where(measured, mark_positive(section.mif), np.nan).astype(np.float32),
        facts={patient.identifier: dict(patient.facts)},
        expected=section.expected,
        notes_keys=tuple(known_facts(patient.facts)),
    )


def join_cohorts(cohorts: Sequence[EmbeddedCohort]) -> EmbeddedCohort:
    """Put cohorts of the same markers, modalities and patch size one after the other."""
    first = cohorts[0]
    rows = ("patches", "regions", "patients", "x", "y", "expression", "positive", "expected")
    columns: dict[str, Any] = {name: np.concatenate([getattr(cohort, name) for cohort in cohorts]) for name in rows}
    return replace(
        first,
        **columns,
        vectors={name: np.concatenate([cohort.vectors[name] for cohort in cohorts]) for name in first.vectors},
        facts={patient: own for cohort in cohorts for patient, own in cohort.facts.items()},
        notes_keys=_join_keys([cohort.notes_keys for cohort in cohorts]),
    )


def _join_keys(keys: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Facts that any of the cohorts' notes saw; None where one does not say."""
    known = [own for own in keys if own is not None]
    return tuple(sorted(set().union(*known))) if len(known) == len(keys) else None


def mark_positive(mif: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Say which channels of mIF patches are positive: `POSITIVITY`.

    Args:
        mif: (n, m, s, s) uint8.

    Returns:
        (n, m) float32, 1 or 0.
    """
    covered = (mif > POSITIVE).mean(axis=(2, 3))
    return np.asarray(covered >= POSITIVE_SHARE, np.float32)


def _narratives(section: Section) -> list[str]:
    """What each patch of a section shows, in words, as in training."""
    z, patterns = region_z(section.expression), describe_patterns(section.mif)
    return [narrate(MARKERS, scores, names) for scores, names in zip(z, patterns, strict=True)]


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
