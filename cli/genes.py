"""`--genes`: how many, or which."""

from __future__ import annotations

from pathlib import Path

from haiku_edge.runtime.errors import PanelError, UsageError

MOST_NAMES = 50_000
"""Genes that a file may name: more than a genome has."""


def read_genes(given: str) -> int | tuple[str, ...]:
    """A number, or the names that a file holds, one a line.

    Raises:
        UsageError: It is neither, or the number is 0.
        PanelError: The file names none, or more than a genome has.
    """
    if given.isdecimal():
        if int(given) < 1:
            raise UsageError(f"--genes {given} would tell of none. Name a number above 0, or a file of names.")
        return int(given)
    try:
        lines = Path(given).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"--genes {given} is neither a number nor a text file with a name a line.") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not 0 < len(names) <= MOST_NAMES:
        raise PanelError(f"{given} names {len(names)} genes. Name one a line, at most {MOST_NAMES:,}.")
    return names
