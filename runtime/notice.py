"""What every output says."""

from __future__ import annotations

from typing import Final

RESEARCH_USE_ONLY: Final = "For research use only. Not for use in diagnostic procedures."
