"""What a reader must know before the numbers: the first thing below the report's header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .numbers import count
from .schema import Result


@dataclass(frozen=True, slots=True)
class Caution:
    """One thing to know first.

    Attributes:
        title: A few words.
        text: A sentence or two.
        serious: Whether it can make the numbers wrong, and not only narrower in meaning.
    """

    title: str
    text: str
    serious: bool = False


def cautions(result: Result) -> tuple[Caution, ...]:
    """The result's own warnings in their order, then what its sections say; nothing is said twice in the same words."""
    found: dict[str, Caution] = {}
    for caution in (*_warnings(result), *_stain(result), *_notes(result), *_abstention(result)):
        found.setdefault(caution.text, caution)
    return tuple(found.values())


def _warnings(result: Result) -> Iterator[Caution]:
    yield from (Caution("Warning", text, serious=True) for text in result.warnings)
    yield from (Caution("Slide", text) for text in result.slide.warnings)


def _stain(result: Result) -> Iterator[Caution]:
    stain = result.slide.stain
    if stain.looks_like != "H&E":
        text = f"The slide does not look like H&E (it looks like: {stain.looks_like}). {stain.reason}"
        yield Caution("Stain", text, serious=True)


def _notes(result: Result) -> Iterator[Caution]:
    notes = result.notes
    if not notes.given:
        yield Caution("No clinical notes", "None were given; every estimate rests on the H&E image alone.")
    if notes.markers_named:
        names = ", ".join(notes.markers_named)
        text = f"The clinical notes name {names}: they may hold the answer. Compare with the estimates without notes."
        yield Caution("Markers named in the notes", text, serious=True)
    if notes.truncated:
        text = f"The notes were too long for the text model ({count(notes.tokens)} tokens); their end was not read."
        yield Caution("Notes cut short", text, serious=True)
    if notes.dropped:
        text = f"Left out of the clinical notes before anything else saw them: {', '.join(notes.dropped)}."
        yield Caution("Identifiers removed", text)
    yield from (Caution("Notes", text) for text in notes.warnings)


def _abstention(result: Result) -> Iterator[Caution]:
    tiles = result.tiles
    if tiles.abstained:
        text = (
            f"{count(tiles.abstained)} tiles look like nothing in the atlas and got no estimate; "
            f"{count(tiles.predicted)} tiles did. Hatched areas of the heatmaps say nothing."
        )
        yield Caution("Abstention", text, serious=tiles.abstained > tiles.predicted)
    silent = [item.marker for item in result.biomarkers if item.status != "predicted"]
    if silent:
        yield Caution("Markers without an estimate", f"{', '.join(silent)}: the table below says why.")
