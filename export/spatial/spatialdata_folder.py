"""SpatialData folders (.zarr): a table, the circles of its spots, and images, all in one coordinate system.

Read with anndata, pyarrow and zarr, which is all that the format takes: the package of that name brings some seventy
others.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anndata
import numpy as np
import pyarrow.parquet
import zarr
from numpy.typing import NDArray

from haiku_edge.runtime.errors import DatasetError, UnreadableDatasetError

from .anndata_file import source_of
from .pictures import level_paths
from .source import OwnPicture, SpotSource
from .transforms import apply, scale_of, to_systems

_ATTRIBUTES: Final = "spatialdata_attrs"
_POINT: Final = b"\x01\x01\x00\x00\x00"
"""Start of a point in well-known binary, little-endian; two float64 follow."""


def is_spatialdata(path: Path) -> bool:
    """Whether a folder holds tables and shapes."""
    return (path / "tables").is_dir() and (path / "shapes").is_dir()


def read_spatialdata(path: Path, section: str) -> SpotSource:
    """Read the spots of one region; the finest image that shares a coordinate system with them comes with them.

    Args:
        path: The folder.
        section: The region's name, where there are several.

    Raises:
        UnreadableDatasetError: It has no such region, no places, no raw counts, or is damaged.
        PanelError: A gene has no name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of older versions of the format
            table, region = _read_table(path, section)
            shapes = path / "shapes" / region
            places, places_of = _read_circles(shapes), _attributes(shapes)
            centres = _matched(table, places, path, region)
            source = source_of(table, centres, path.name)
            return _with_picture(source, path, to_systems(places_of["coordinateTransformations"]))
    except DatasetError:
        raise
    except Exception as error:  # a damaged store can fail in any way
        raise UnreadableDatasetError(
            f"{path.name} can't be read as SpatialData ({type(error).__name__}: {error}). It needs a table whose "
            "region is a set of circles; write it again with a current version of its writer."
        ) from None


def _read_table(path: Path, section: str) -> tuple[Any, str]:
    """The rows of one region, and its name."""
    found = []
    for place in sorted(folder for folder in (path / "tables").iterdir() if folder.is_dir()):
        table = anndata.io.read_zarr(place)
        attributes = table.uns.get(_ATTRIBUTES)
        if attributes is None:
            continue
        column = table.obs[attributes["region_key"]].astype(str)
        found += [(table[(column == region).to_numpy()], region) for region in sorted(set(column))]
    chosen = [pair for pair in found if pair[1] == section] or found
    if len(chosen) != 1:
        names = ", ".join(region for _, region in found)
        raise UnreadableDatasetError(
            f"{path.name} has {len(found) or 'no'} regions with a table{f' ({names})' if names else ''}. Name the "
            "section after the one that it is."
        )
    return chosen[0]


def _read_circles(path: Path) -> dict[Any, tuple[float, float]]:
    """Index of each shape → its centre, in the shapes' own coordinates."""
    table = pyarrow.parquet.read_table(path / "shapes.parquet")
    index = next((name for name in table.column_names if name not in ("geometry", "radius")), None)
    keys = range(len(table)) if index is None else table[index].to_pylist()
    return {key: _centre(bytes(point)) for key, point in zip(keys, table["geometry"].to_pylist(), strict=True)}


def _centre(point: bytes) -> tuple[float, float]:
    if len(point) != 21 or not point.startswith(_POINT):
        raise ValueError("a shape is no circle")
    x, y = np.frombuffer(point, "<f8", 2, offset=5).tolist()
    return x, y


def _matched(table: Any, places: dict[Any, tuple[float, float]], path: Path, region: str) -> NDArray[np.float64]:
    """(n, 2) centres of the rows of a table."""
    keys = table.obs[table.uns[_ATTRIBUTES]["instance_key"]].tolist()
    if missing := [key for key in keys if key not in places]:
        raise UnreadableDatasetError(
            f"{path.name} has counts of {len(missing)} spots without a circle in {region}, such as {missing[0]}."
        )
    return np.array([places[key] for key in keys], np.float64).reshape(-1, 2)


def _with_picture(source: SpotSource, path: Path, systems: dict[str, NDArray[np.float64]]) -> SpotSource:
    """The source with the finest image that shares a coordinate system with the circles."""
    found: list[OwnPicture] = []
    places = np.stack([source.x, source.y], axis=1).astype(np.float64)
    for image in sorted((path / "images").iterdir()) if (path / "images").is_dir() else ():
        if not image.is_dir():
            continue
        own = to_systems(_attributes(image)["multiscales"][0]["coordinateTransformations"])
        shared = next((name for name in systems if name in own), None)
        if shared is not None and level_paths(image):
            matrix = np.linalg.inv(own[shared]) @ systems[shared]
            x, y = apply(matrix, places).astype(np.float32).T
            found.append(OwnPicture(image, x, y, scale_of(matrix)))
    return replace(source, picture=max(found, key=lambda picture: picture.scale, default=None))


def _attributes(path: Path) -> dict[str, Any]:
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    return dict(attributes.get("ome", attributes))
