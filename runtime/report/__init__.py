"""What a run leaves behind: `result.json`, the report, the tiles and the heatmaps."""

from __future__ import annotations

from .images import ReportImages
from .outputs import write_outputs
from .schema import SCHEMA_VERSION, Result

__all__ = [
    "SCHEMA_VERSION",
    "ReportImages",
    "Result",
    "write_outputs",
]
