"""Choosing the reader of spots by what is there, and joining what it reads with what the table says."""

from __future__ import annotations

from pathlib import Path

from haiku_edge.runtime.errors import UnreadableDatasetError
from haiku_edge.runtime.inference import Progress

from .anndata_file import is_anndata, read_anndata
from .check import check_section
from .cohort_table import CohortRow
from .source import SpotSource
from .spatialdata_folder import is_spatialdata, read_spatialdata
from .types import SpotSection
from .visium import is_visium, read_visium


def read_source(path: Path, section: str) -> SpotSource:
    """Read spots from a Space Ranger folder, an AnnData file or a SpatialData folder.

    Args:
        path: The file or folder.
        section: Which of a SpatialData folder's regions, where it has several.

    Raises:
        UnreadableDatasetError: It is none of these, or can't be used.
        PanelError: A gene has no name.
    """
    if is_visium(path):
        return read_visium(path)
    if path.is_dir() and is_spatialdata(path):
        return read_spatialdata(path, section)
    if path.is_file() and is_anndata(path):
        return read_anndata(path)
    raise UnreadableDatasetError(
        f"{path.name} is no known layout of spots. Give a Space Ranger folder (with the folder spatial in it), an "
        "AnnData file (.h5ad) or a SpatialData folder (.zarr)."
    )


def read_section(row: CohortRow, progress: Progress | None = None) -> SpotSection:
    """One section of a cohort, checked; the progress is told of genes that are named twice.

    With an image in the table, places are taken to count in its pixels. Else the picture that came with the spots is
    used, with places and resolution scaled to it.

    Raises:
        UnreadableDatasetError, PanelError, CohortError: It can't be used.
    """
    source = read_source(row.data, row.section)
    if source.summed and progress is not None:
        progress.say(f"{row.section}: {source.summed} columns were added to another of the same gene's name.")
    image, x, y, mpp = row.image, source.x, source.y, row.mpp or source.mpp
    if image is None and source.picture is not None:
        own = source.picture
        image, x, y, mpp = own.path, own.x, own.y, None if mpp is None else mpp / own.scale
    section = SpotSection(
        row.section, row.patient, row.organ, source.genes, source.spots, x, y, source.counts, image, mpp, row.facts
    )
    check_section(section)
    return section
