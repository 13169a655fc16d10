"""What every output says."""

from __future__ import annotations

from typing import Final

RESEARCH_USE_ONLY: Final = "For research use only. Not for use in diagnostic procedures."


def without_notice(statement: str) -> str:
    """A bundle's statement without the first sentence of the notice at its end, to stand above the whole notice."""
    return statement.removesuffix(RESEARCH_USE_ONLY.partition(".")[0] + ".").rstrip()
