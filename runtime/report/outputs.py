"""Everything that a run writes, in the order in which it may be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..atomic import atomic_open, atomic_write, make_directory, output_error, remove_leftovers
from .document import result_json
from .geojson import write_geojson
from .heatmap import heatmap_png, map_tiles, marker_values, overlay_png, paint
from .html import render_report
from .images import ReportImages, resized_to
from .schema import Result

RESULT_NAME = "result.json"
REPORT_NAME = "report.html"
TILES_NAME = "tiles.parquet"
GEOJSON_NAME = "tiles.geojson.gz"
HEATMAPS_NAME = "heatmaps"

_OVERVIEW_AT_LEAST = 800
_OVERVIEW_AT_MOST = 1400
"""Bounds for the long side of the overview in pixels: sharp across a page, and small in a file."""


@dataclass(frozen=True, slots=True)
class _Painted:
    overview: NDArray[np.uint8]
    maps: dict[str, NDArray[np.uint8]]


def write_outputs(directory: Path, result: Result, tiles: pa.Table, images: ReportImages) -> tuple[Path, ...]:
    """Write the outputs of one run; `result.json` comes last, so where it stands all the others are whole.

    An older `result.json` is removed first, so that a run that is cut short over an older one does not look finished.
    Equal arguments give equal bytes, but for the timing in `result.json` and in the report. A marker without an
    estimate in any tile has no heatmap.

    Args:
        directory: Folder of this slide; made where missing.
        result: What was found.
        tiles: One row a tile; columns as docs/outputs.md lists them.
        images: Pixels for the report and the heatmaps.

    Returns:
        The files, `result.json` last.

    Raises:
        OutputNotWritableError: The folder or a file can't be written.
        DiskFullError: There is no room.
    """
    _prepare(directory)
    painted = _paint_all(result, tiles, images)
    written = [
        _write_tiles(directory / TILES_NAME, result, tiles),
        _write_geojson(directory / GEOJSON_NAME, result, tiles),
        *_write_heatmaps(directory / HEATMAPS_NAME, result, painted),
        _write(directory / REPORT_NAME, _report(result, images, painted)),
        _write(directory / RESULT_NAME, result_json(result)),
    ]
    return tuple(written)


def heatmap_names(markers: Iterable[str]) -> dict[str, str]:
    """A file name for each marker's heatmap: letters, digits, '.', '+' and '-' stay, all else becomes '_'.

    Names that would then be equal, on a file system that ignores case too, are told apart by a number.
    """
    names: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for marker in markers:
        safe = "".join(sign if sign.isalnum() or sign in ".+-" else "_" for sign in marker).lstrip(".") or "_"
        taken[safe.lower()] += 1
        number = taken[safe.lower()]
        names[marker] = f"{safe}.png" if number == 1 else f"{safe}~{number}.png"
    return names


def _prepare(directory: Path) -> None:
    make_directory(directory)
    make_directory(directory / HEATMAPS_NAME)
    try:
        (directory / RESULT_NAME).unlink(missing_ok=True)
        for stale in (directory / HEATMAPS_NAME).glob("*.png"):
            stale.unlink()
    except OSError as error:
        raise output_error(error, directory) from error
    for name in (RESULT_NAME, REPORT_NAME, TILES_NAME, GEOJSON_NAME):
        remove_leftovers(directory / name)
    for leftover in (directory / HEATMAPS_NAME).glob(".*.png.*.tmp"):
        with suppress(OSError):
            leftover.unlink()


def _paint_all(result: Result, tiles: pa.Table, images: ReportImages) -> _Painted:
    overview = resized_to(images.overview, _OVERVIEW_AT_LEAST, _OVERVIEW_AT_MOST)
    before, after = images.overview.shape, overview.shape
    scale = (images.scale * before[0] / after[0], images.scale * before[1] / after[1])
    tile_map = map_tiles(result, tiles, (after[0], after[1]), scale)
    values = {item.marker: marker_values(tiles, item.marker) for item in result.biomarkers}
    return _Painted(overview, {name: paint(z, tile_map) for name, z in values.items() if np.isfinite(z).any()})


def _report(result: Result, images: ReportImages, painted: _Painted) -> bytes:
    overlays = {marker: overlay_png(indices) for marker, indices in painted.maps.items()}
    return render_report(result, images, painted.overview, overlays).encode()


def _write(path: Path, content: bytes) -> Path:
    atomic_write(path, content)
    return path


def _write_tiles(path: Path, result: Result, tiles: pa.Table) -> Path:
    said = {
        "notice": result.notice,
        "schema_version": result.schema_version,
        "bundle": f"{result.bundle.name} {result.bundle.version} {result.bundle.digest}",
        "slide_sha256": result.slide.sha256,
    }
    with atomic_open(path) as stream:
        pq.write_table(tiles.replace_schema_metadata(said), stream, compression="zstd")
    return path


def _write_geojson(path: Path, result: Result, tiles: pa.Table) -> Path:
    with atomic_open(path) as stream:
        write_geojson(stream, result, tiles)
    return path


def _write_heatmaps(directory: Path, result: Result, painted: _Painted) -> Iterator[Path]:
    names = heatmap_names(painted.maps)
    for marker, indices in painted.maps.items():
        yield _write(directory / names[marker], heatmap_png(painted.overview, indices, marker, result))
