"""AnnData files (.h5ad), alone or in HEST's folders."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anndata
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.errors import DatasetError, UnreadableDatasetError

from .check import not_counts
from .source import OwnPicture, SpotSource, as_counts, fault_of_counts, grid_mpp, make_source

SPATIAL: Final = "spatial"
"""Key of the places in `obsm`."""

SYMBOLS: Final = ("gene_symbols", "gene_symbol", "feature_name", "gene_name", "symbol")
"""Columns of `var` in which writers keep names where the index holds identifiers."""

_ENSEMBL = "ENS"


def is_anndata(path: Path) -> bool:
    """Whether a file is an HDF5 file, as AnnData's are."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def read_anndata(path: Path) -> SpotSource:
    """Read the spots in tissue of one .h5ad file.

    In HEST's folders (st/ID.h5ad, wsis/ID.tif, metadata/ID.json) slide and resolution come with it.

    Raises:
        UnreadableDatasetError: It is no such file, has no places, or holds no raw counts.
        PanelError: A gene has no name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are not unique, and of older versions of the format
            table = anndata.read_h5ad(path)
        source = from_table(table, path.name)
    except DatasetError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise UnreadableDatasetError(
            f"{path.name} can't be read as AnnData ({type(error).__name__}). Copy it again, or write it again."
        ) from None
    return _with_slide(source, path)


def from_table(table: Any, name: str) -> SpotSource:
    """The spots in tissue of an AnnData object that has places of its own.

    Raises:
        UnreadableDatasetError: It has no places, they are no numbers, or it holds no raw counts.
    """
    if SPATIAL not in table.obsm:
        raise UnreadableDatasetError(
            f"{name} has no coordinates: obsm['{SPATIAL}'] is missing. Write it with the places of its spots, in "
            "pixels of the full-resolution image."
        )
    try:
        places = np.asarray(table.obsm[SPATIAL], np.float64)
    except (TypeError, ValueError):
        raise UnreadableDatasetError(
            f"The coordinates of {name} are no numbers. Write pixels of the full-resolution image to obsm['{SPATIAL}']."
        ) from None
    if places.ndim != 2 or places.shape[1] < 2:
        raise UnreadableDatasetError(f"The coordinates of {name} are {places.shape}; two a spot are needed, x and y.")
    return source_of(table, places[:, :2], name)


def source_of(table: Any, places: NDArray[np.float64], name: str) -> SpotSource:
    """The spots in tissue of an AnnData object, at (n, 2) places (x, y) in pixels.

    Raises:
        UnreadableDatasetError: It holds no raw counts.
    """
    genes, counts = _raw_counts(table, name)
    inside = _in_tissue(table)
    columns = {key: np.asarray(table.obs[key], np.float64) for key in ("array_row", "array_col") if key in table.obs}
    mpp = grid_mpp(places, columns["array_row"], columns["array_col"]) if len(columns) == 2 else None
    spots = table.obs_names.astype(str).to_numpy()[inside].tolist()
    return make_source(genes, spots, places[inside], counts[inside], mpp=mpp)


def _raw_counts(table: Any, name: str) -> tuple[list[str], csr_matrix]:
    """The first of its matrices that holds raw counts, with the names of its genes."""
    faults = []
    for where, matrix, var in _matrices(table):
        counts = as_counts(matrix, name)
        fault = fault_of_counts(counts)
        if fault is None:
            return _names(var), counts
        faults.append(f"in {where}, {fault}")
    if not faults:
        raise UnreadableDatasetError(f"{name} holds no matrix of counts. Write it with the raw counts in X.")
    raise not_counts(name, "; ".join(faults))


def _matrices(table: Any) -> Iterator[tuple[str, Any, Any]]:
    if "counts" in table.layers:
        yield "layers['counts']", table.layers["counts"], table.var
    if table.X is not None:
        yield "X", table.X, table.var
    if table.raw is not None:
        yield "raw", table.raw.X, table.raw.var


def _names(var: Any) -> list[str]:
    """Names of genes; where the index holds Ensembl's identifiers, from the column of names if there is one."""
    index = [str(name) for name in var.index]
    if not all(name.startswith(_ENSEMBL) for name in index):
        return index
    column = next((key for key in SYMBOLS if key in var.columns), None)
    if column is None:
        return index
    return [str(name) if str(name) not in ("", "nan") else own for name, own in zip(var[column], index, strict=True)]


def _in_tissue(table: Any) -> NDArray[np.bool_]:
    if "in_tissue" not in table.obs:
        return np.ones(table.n_obs, bool)
    told = table.obs["in_tissue"].astype(str).str.strip().str.lower()
    return np.asarray(told.isin(("1", "1.0", "true")), bool)


def _with_slide(source: SpotSource, path: Path) -> SpotSource:
    """The source with slide and resolution, where the file lies in HEST's folders."""
    if path.parent.name != "st":
        return source
    slide = path.parents[1] / "wsis" / f"{path.stem}.tif"
    picture = OwnPicture(slide, source.x, source.y, 1.0) if slide.is_file() else None
    stated = _hest_mpp(path.parents[1] / "metadata" / f"{path.stem}.json")
    return replace(source, picture=picture, mpp=stated or source.mpp)


def _hest_mpp(path: Path) -> float | None:
    """Micrometres per pixel as HEST measured them, or as it found them in the image."""
    try:
        about = json.loads(path.read_bytes())
        values = [about.get(f"pixel_size_um_{kind}") for kind in ("estimated", "embedded")]
    except (OSError, ValueError, AttributeError):
        return None
    return next((float(value) for value in values if isinstance(value, int | float) and 0 < value < 100), None)
