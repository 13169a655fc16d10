"""What a run leaves behind: `result.json`, `report.html` and `counterfactual.parquet`, all or none."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..report.document import document_json
from ..report.staging import staging
from .case import Case
from .page import render_page
from .schema import CounterfactualResult

RESULT_NAME: Final = "result.json"
REPORT_NAME: Final = "report.html"
TILES_NAME: Final = "counterfactual.parquet"


def write_outputs(
    directory: Path, result: CounterfactualResult, tiles: pa.Table, case: Case, pixels: dict[int, NDArray[np.uint8]]
) -> tuple[Path, ...]:
    """Write the outputs of one run; `result.json` comes last, so where it stands the others are whole.

    Args:
        directory: Folder of this run.
        result: What was found.
        tiles: One row a tile.
        case: For the pictures.
        pixels: H&E of the shown tiles, by row of the table.

    Returns:
        The files, `result.json` last.

    Raises:
        OutputNotWritableError: The folder or a file can't be written.
        DiskFullError: There is no room.
    """
    said = {
        "notice": result.notice,
        "exploratory": result.exploratory,
        "schema_version": result.schema_version,
        "bundle": f"{result.bundle.name} {result.bundle.version} {result.bundle.digest}",
        "slide_sha256": result.slide.sha256,
    }
    with staging(directory) as files:
        with files.open(TILES_NAME) as stream:
            pq.write_table(tiles.replace_schema_metadata(said), stream, compression="zstd")
        files.write(REPORT_NAME, render_page(result, case, pixels).encode())
        files.write(RESULT_NAME, document_json(result))
        return files.publish([directory / name for name in (RESULT_NAME, REPORT_NAME, TILES_NAME)])
