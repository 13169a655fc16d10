"""The RNA of the demonstration slide: what a spot in the middle of each tile counts, and what could be known of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..demo import Demo, tissue_outline
from ..patch import PATCH_PX
from ..tissue import GRID, Tissue, plant_tissue
from .capture import catch
from .cut import measure
from .genes import GENES
from .truth import SCALE, expected_logs, possible_with_facts, possible_without_facts

GENE_TRUTH: Final = "truth_genes.parquet"
"""Name of the file, beside the demonstration's other files."""


def write_gene_truth(demo: Demo) -> Path:
    """Count the genes of a demonstration that was written, and write them beside it.

    One row for each tile of 256 px, in the order of `demo.truth`: `x`, `y` (int32, level-0 pixels), `library` (int32)
    and for each gene G, all float32: `G` (log1p(counts / library * 10 000) of a spot in the middle of the tile, NaN
    without counts), `G_expected` and `G_expected_without_facts`.
    """
    tiles = pq.read_table(demo.truth, columns=["x", "y"])
    corners = np.stack([tiles["x"].to_numpy(), tiles["y"].to_numpy()], axis=1)
    tissue = _grow(demo, *(corners.max(axis=0) + PATCH_PX).tolist())
    columns = _columns(demo, tissue, (corners + PATCH_PX // 2).astype(np.float32))
    path = demo.truth.with_name(GENE_TRUTH)
    pq.write_table(pa.table({"x": tiles["x"], "y": tiles["y"], **columns}), path)
    return path


def _grow(demo: Demo, width: int, height: int) -> Tissue:
    """The demonstration's tissue: its outline is the first that its stream draws."""
    rng = np.random.default_rng(np.random.SeedSequence((*demo.patient.entropy, 9)))
    outline = tissue_outline(rng, height // GRID, width // GRID)
    return plant_tissue(demo.patient, width, height, outline=outline)


def _columns(demo: Demo, tissue: Tissue, centres: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Columns of the table but for the places."""
    counts, caught = measure(demo.patient, tissue, centres), catch(tissue, centres)
    library = counts.sum(axis=1, dtype=np.int32)
    share = counts / np.where(library > 0, library, np.nan)[:, None]
    tables = {
        "": np.log1p(share * SCALE).astype(np.float32),
        "_expected": expected_logs(tissue, caught, possible_with_facts(demo.patient)),
        "_expected_without_facts": expected_logs(tissue, caught, possible_without_facts()),
    }
    columns: dict[str, NDArray[np.generic]] = {"library": library}
    for number, gene in enumerate(GENES):
        columns.update({gene + ending: table[:, number] for ending, table in tables.items()})
    return columns
