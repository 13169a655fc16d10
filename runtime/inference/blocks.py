"""Rows in blocks, so that what is computed from them at once stays small however large the slide is."""

from __future__ import annotations

from collections.abc import Iterator

NUMBERS_AT_ONCE = 1 << 22
"""Numbers in the largest array of a block: 32 MB in double precision."""


def row_blocks(rows: int, numbers_per_row: int) -> Iterator[slice]:
    """Slices that cover `rows`, each with at most `NUMBERS_AT_ONCE` numbers (but at least one row)."""
    step = max(1, NUMBERS_AT_ONCE // max(1, numbers_per_row))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
