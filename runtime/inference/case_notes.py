"""The notes of a case as a vector, and what the result says about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle, TextTower
from ..engine import open_tower
from ..notes import Notes, Tokenizer, Tokens, markers_named, read_notes
from ..report.schema import NotesSection

_NONE_GIVEN = NotesSection(
    given=False, facts={}, prompt=None, tokens=0, truncated=False, dropped=[], markers_named=[], warnings=[]
)


@dataclass(frozen=True, slots=True)
class CaseNotes:
    """What the text tower made of a case.

    Attributes:
        vector: (d,) float32 unit vector, or None without notes.
        section: What the result says.
    """

    vector: NDArray[np.float32] | None
    section: NotesSection


def embed_notes(bundle: Bundle, path: Path | None) -> CaseNotes:
    """Read the notes, and embed their prompt.

    The text tower runs on the CPU and in fp32: it embeds one prompt a slide, so that nothing is won otherwise.

    Raises:
        BundleContentError: There are notes, and the bundle has no text tower.
        NotesError: The notes can't be used.
    """
    if path is None:
        return CaseNotes(None, _NONE_GIVEN)
    text = bundle.manifest.need_text()
    return embed_read_notes(bundle, text, read_notes(path))


def embed_read_notes(bundle: Bundle, text: TextTower, notes: Notes) -> CaseNotes:
    """Embed notes that were read already."""
    tokens = Tokenizer.from_bytes(bundle.read(text.tokenizer), text.max_length).encode(notes.prompt)
    engine = open_tower(bundle, text, device="cpu", threads=1, strict=True)
    vectors = engine(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    named = markers_named(notes, _markers(bundle))
    return CaseNotes(vectors[0], _describe(notes, tokens, named, text.max_length))


def _markers(bundle: Bundle) -> tuple[str, ...]:
    """Markers that notes may give away: the atlas's, or without one the mIF tower's."""
    section = bundle.manifest.atlas or bundle.manifest.mif
    return () if section is None else section.markers


def _describe(notes: Notes, tokens: Tokens, named: tuple[str, ...], longest: int) -> NotesSection:
    warnings = list(notes.warnings)
    if tokens.truncated:
        warnings.append(f"the notes make {tokens.count} tokens; the text tower read the first {longest}")
    if named:
        warnings.append(f"the notes name {', '.join(named)}: for these markers they may hold the answer")
    if notes.hidden_facts:
        warnings.append(
            f"{notes.hidden_facts} facts were read but are not repeated, since their names are not known clinical ones"
        )
    return NotesSection(
        given=True,
        facts=dict(notes.shown_facts),
        prompt=None if notes.text is not None or notes.hidden_facts else notes.prompt,
        tokens=tokens.count,
        truncated=tokens.truncated,
        dropped=list(notes.dropped),
        markers_named=list(named),
        warnings=warnings,
    )
