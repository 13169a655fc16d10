"""What a reader must know before the numbers: the first thing below the report's header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .schema import Result
from .schema_spatial import Gene

_MOST_NAMED = 6
"""Genes without an estimate that are named one by one."""


@dataclass(frozen=True, slots=True)
class Caution:
    """One thing to know first.

    Attributes:
        text: A sentence or two.
        serious: Whether it bears on trust in the numbers, and not only on what they cover.
    """

    text: str
    serious: bool


def cautions(result: Result) -> tuple[Caution, ...]:
    """`Result.warnings` as they are and in their order, then what the numbers do not cover."""
    given = tuple(Caution(text, serious=True) for text in result.warnings)
    return (*given, *(Caution(text, serious=False) for text in _not_covered(result)))


def _not_covered(result: Result) -> Iterator[str]:
    if not result.notes.given and (result.biomarkers or result.spatial is None):
        yield "No clinical notes were given: every estimate rests on the H&E image alone."
    silent = [item.marker for item in result.biomarkers if item.status != "predicted"]
    if silent and len(silent) == len(result.biomarkers):
        yield "No marker has an estimate; the table of markers says why."
    elif silent:
        yield f"No estimate for {', '.join(silent)}; the table of markers says why."
    yield from _silent_genes(() if result.spatial is None else result.spatial.genes)


def _silent_genes(genes: Sequence[Gene]) -> Iterator[str]:
    silent = [item.gene for item in genes if item.status != "predicted"]
    if silent and len(silent) == len(genes):
        yield "No gene has an estimate; the chapter on genes says why."
    elif silent:
        named = silent if len(silent) <= _MOST_NAMED else silent[: _MOST_NAMED - 1]
        others = f" and {len(silent) - len(named)} others" if len(named) < len(silent) else ""
        yield f"No estimate for {', '.join(named)}{others}; the chapter on genes says why."
