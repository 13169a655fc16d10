"""The folder that Space Ranger writes: a matrix of counts, and where its spots lie in the image."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import scipy.io
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.errors import UnreadableDatasetError

from .source import SpotSource, as_counts, grid_mpp, make_source

SPATIAL: Final = "spatial"
MATRIX: Final = "filtered_feature_bc_matrix"
POSITIONS: Final = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
COLUMNS: Final = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
"""Columns of the positions, in the order of the file without a header."""

SPOT_UM: Final = 65.0
"""Width that `spot_diameter_fullres` stands for, micrometres, by Space Ranger's documentation. Spots measure 55."""

_EXPRESSION = "Gene Expression"


def is_visium(path: Path) -> bool:
    """Whether a folder is one that Space Ranger wrote, or has one named outs."""
    return path.is_dir() and any((folder / SPATIAL).is_dir() for folder in (path, path / "outs"))


def read_visium(path: Path) -> SpotSource:
    """Read the spots in tissue; the largest picture of the folder comes with them.

    Raises:
        UnreadableDatasetError: A file is missing, damaged, or does not fit another.
    """
    folder = path if (path / SPATIAL).is_dir() else path / "outs"
    try:
        spots, genes, counts = _read_matrix(folder)
        places = _read_positions(folder / SPATIAL)
        scales = _read_scales(folder / SPATIAL)
    except UnreadableDatasetError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise UnreadableDatasetError(
            f"{path.name} can't be read as a Space Ranger folder ({type(error).__name__}: {error}). Copy it again, or "
            "have Space Ranger write it again."
        ) from None
    row_of = {spot: row for row, spot in enumerate(places["barcode"].tolist())}
    if missing := [spot for spot in spots if spot not in row_of]:
        raise UnreadableDatasetError(
            f"{path.name} has counts of {len(missing)} spots without a position, such as {missing[0]}. Counts and "
            "positions are of two sections; take both from one folder."
        )
    rows = np.array([row_of[spot] for spot in spots], np.int64)
    inside = places["in_tissue"][rows] == 1
    rows = rows[inside]
    pixels = np.stack([places["pxl_col_in_fullres"][rows], places["pxl_row_in_fullres"][rows]], axis=1)
    return make_source(
        genes,
        np.array(spots, np.str_)[inside].tolist(),
        pixels,
        counts[inside],
        mpp=_resolution(scales, places),
        picture=_picture(folder / SPATIAL, scales),
    )


def _read_matrix(folder: Path) -> tuple[list[str], list[str], csr_matrix]:
    """Barcodes, names of the genes, and (n, g) counts."""
    found = sorted(folder.glob(f"*{MATRIX}.h5"))
    if len(found) == 1:
        spots, genes, kinds, counts = _read_h5(found[0])
    elif not found and (folder / MATRIX).is_dir():
        spots, genes, kinds, counts = _read_mtx(folder / MATRIX)
    else:
        raise UnreadableDatasetError(
            f"{folder.name} has {len(found) or 'no'} {MATRIX}.h5 and no folder of that name to read instead. Keep one."
        )
    kept = np.array([kind == _EXPRESSION for kind in kinds], bool)
    if counts.shape != (len(spots), len(genes)) or not kept.any():
        raise UnreadableDatasetError(
            f"{folder.name} has {len(spots)} spots, {len(genes)} features and counts of the shape {counts.shape}, and "
            f"{kept.sum()} of the features are genes ({_EXPRESSION}). Have Space Ranger write it again."
        )
    return spots, [gene for gene, keep in zip(genes, kept.tolist(), strict=True) if keep], counts[:, kept]


def _read_h5(path: Path) -> tuple[list[str], list[str], list[str], csr_matrix]:
    with h5py.File(path, "r") as file:
        matrix = file["matrix"]
        features = matrix["features"]
        parts = matrix["barcodes"], features["name"], features["feature_type"]
        spots, genes, kinds = ([value.decode() for value in part[:].tolist()] for part in parts)
        # The file holds (genes, spots) by column, which is (spots, genes) by row.
        counts = as_counts(
            csr_matrix((matrix["data"][:], matrix["indices"][:], matrix["indptr"][:]), (len(spots), len(genes))),
            path.name,
        )
    return spots, genes, kinds, counts


def _read_mtx(folder: Path) -> tuple[list[str], list[str], list[str], csr_matrix]:
    features = _read_table(folder, ("features.tsv", "genes.tsv"))
    spots = [row[0] for row in _read_table(folder, ("barcodes.tsv",))]
    counts = as_counts(scipy.io.mmread(_one_of(folder, ("matrix.mtx",))).T, folder.name)
    kinds = [row[2] if len(row) > 2 else _EXPRESSION for row in features]
    return spots, [row[1] for row in features], kinds, counts


def _read_table(folder: Path, names: Sequence[str]) -> list[list[str]]:
    path = _one_of(folder, names)
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line.split("\t") for line in content.decode().splitlines()]


def _one_of(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    raise UnreadableDatasetError(f"{folder.name} has no {names[0]}. Copy the folder again.")


def _read_positions(folder: Path) -> dict[str, NDArray[Any]]:
    """Column → (n,) values."""
    path = next((folder / name for name in POSITIONS if (folder / name).is_file()), None)
    if path is None:
        raise UnreadableDatasetError(f"The folder {SPATIAL} has none of {', '.join(POSITIONS)}: no spot has a place.")
    if path.suffix == ".parquet":
        table = pa.parquet.read_table(path)
    else:
        with path.open(encoding="utf-8-sig") as file:
            headed = file.readline().startswith(COLUMNS[0])
        options = pa.csv.ReadOptions(column_names=None if headed else list(COLUMNS))
        table = pa.csv.read_csv(path, options)
    places = {name: np.asarray(table[name].to_numpy(), np.float64) for name in COLUMNS[1:]}
    return {COLUMNS[0]: np.array(table[COLUMNS[0]].to_pylist(), np.str_), **places}


def _read_scales(folder: Path) -> dict[str, float]:
    path = folder / "scalefactors_json.json"
    scales = json.loads(path.read_bytes()) if path.is_file() else {}
    if not isinstance(scales, dict):
        raise UnreadableDatasetError(
            f"{path.name} holds no names with numbers, as Space Ranger writes them. Copy it again, or remove it and "
            "give the resolution in the column mpp."
        )
    return {
        str(key): float(value)
        for key, value in scales.items()
        if isinstance(value, int | float) and 0 < value <= sys.float_info.max
    }


def _resolution(scales: dict[str, float], places: dict[str, NDArray[Any]]) -> float | None:
    """As the folder states it, else from the distance of the spots, else from their width."""
    if stated := scales.get("microns_per_pixel"):
        return stated
    pixels = np.stack([places["pxl_col_in_fullres"], places["pxl_row_in_fullres"]], axis=1)
    measured = grid_mpp(pixels, places["array_row"], places["array_col"])
    wide = scales.get("spot_diameter_fullres")
    return measured or (SPOT_UM / wide if wide else None)


def _picture(folder: Path, scales: dict[str, float]) -> tuple[Path, float] | None:
    """The largest picture that Space Ranger made, and its pixels per full-resolution pixel."""
    for size in ("hires", "lowres"):
        path, scale = folder / f"tissue_{size}_image.png", scales.get(f"tissue_{size}_scalef")
        if path.is_file() and scale:
            return path, scale
    return None
