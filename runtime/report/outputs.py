"""Everything that a run writes, in the order in which it may be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .document import document_json
from .experts import ExpertMap, expert_colours, expert_map, experts_png
from .genes import PREFIX, GeneMaps, mapped_genes
from .geojson import write_geojson
from .heads import HeadMap, head_maps
from .heatmap import heatmap_png, map_tiles, marker_values, overlay_png, paint, underlay
from .html import render_report
from .images import ReportImages, resized_to
from .schema import Result
from .staging import Staging, staging

RESULT_NAME = "result.json"
REPORT_NAME = "report.html"
TILES_NAME = "tiles.parquet"
GEOJSON_NAME = "tiles.geojson.gz"
HEATMAPS_NAME = "heatmaps"

_EXPERTS = "experts"
"""The map of experts among the heatmaps."""

_OVERVIEW_AT_LEAST = 800
_OVERVIEW_AT_MOST = 1400
"""Bounds for the long side of the overview in pixels: sharp across a page, and small in a file."""


@dataclass(frozen=True, slots=True)
class _Painted:
    overview: NDArray[np.uint8]
    maps: dict[str, NDArray[np.uint8]]
    heads: list[tuple[HeadMap, NDArray[np.uint8]]]
    genes: dict[str, NDArray[np.uint8]]
    experts: ExpertMap | None


def write_outputs(directory: Path, result: Result, tiles: pa.Table, images: ReportImages) -> tuple[Path, ...]:
    """Write the outputs of one run; `result.json` comes last, so where it stands all the others are whole.

    All files are written beside their places and moved once the last is whole. Until then an older run's files stay;
    they go before the first new one comes. A run that fails leaves the folder as it found it.
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
    painted = _paint_all(result, tiles, images)
    with staging(directory) as files:
        _write_tiles(files, result, tiles)
        with files.open(GEOJSON_NAME) as stream:
            write_geojson(stream, result, tiles)
        _write_heatmaps(files, result, painted)
        files.write(REPORT_NAME, _report(result, images, painted))
        files.write(RESULT_NAME, document_json(result))
        return files.publish(_older(directory))


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


def _older(directory: Path) -> list[Path]:
    """What an earlier run may have left, `result.json` first."""
    names = (RESULT_NAME, REPORT_NAME, TILES_NAME, GEOJSON_NAME)
    return [*(directory / name for name in names), *sorted((directory / HEATMAPS_NAME).glob("*.png"))]


def _paint_all(result: Result, tiles: pa.Table, images: ReportImages) -> _Painted:
    overview = resized_to(images.overview, _OVERVIEW_AT_LEAST, _OVERVIEW_AT_MOST)
    before, after = images.overview.shape, overview.shape
    scale = (images.scale * before[0] / after[0], images.scale * before[1] / after[1])
    tile_map = map_tiles(result, tiles, (after[0], after[1]), scale)
    values = {item.marker: marker_values(tiles, item.marker) for item in result.biomarkers}
    maps = {name: paint(z, tile_map) for name, z in values.items() if np.isfinite(z).any()}
    heads = [(head, paint(head.values, tile_map)) for head in head_maps(result, tiles)]
    genes = {name: paint(marker_values(tiles, f"{PREFIX}{name}"), tile_map) for name in mapped_genes(result, tiles)}
    experts = None if result.spatial is None else expert_map(tiles, tile_map)
    return _Painted(overview, maps, heads, genes, experts)


def _report(result: Result, images: ReportImages, painted: _Painted) -> bytes:
    overlays = {marker: overlay_png(indices) for marker, indices in painted.maps.items()}
    heads = [(head, overlay_png(indices)) for head, indices in painted.heads]
    return render_report(result, images, painted.overview, overlays, heads, _gene_maps(painted)).encode()


def _gene_maps(painted: _Painted) -> GeneMaps | None:
    if painted.experts is None:
        return None
    genes = {name: overlay_png(indices) for name, indices in painted.genes.items()}
    experts = overlay_png(painted.experts.painted, expert_colours())
    return GeneMaps(genes, experts, painted.experts.labels, painted.experts.radius)


def _write_tiles(files: Staging, result: Result, tiles: pa.Table) -> None:
    said = {
        "notice": result.notice,
        "schema_version": result.schema_version,
        "bundle": f"{result.bundle.name} {result.bundle.version} {result.bundle.digest}",
        "slide_sha256": result.slide.sha256,
    }
    with files.open(TILES_NAME) as stream:
        pq.write_table(tiles.replace_schema_metadata(said), stream, compression="zstd")


def _write_heatmaps(files: Staging, result: Result, painted: _Painted) -> None:
    columns = {f"{PREFIX}{gene}": gene for gene in painted.genes}
    names, below = heatmap_names([*painted.maps, *columns, _EXPERTS]), underlay(painted.overview)
    for marker, indices in painted.maps.items():
        files.write(f"{HEATMAPS_NAME}/{names[marker]}", heatmap_png(below, indices, marker, result))
    for column, gene in columns.items():
        picture = heatmap_png(below, painted.genes[gene], gene, result, "the atlas of spots")
        files.write(f"{HEATMAPS_NAME}/{names[column]}", picture)
    if painted.experts is not None and result.spatial is not None:
        grey = underlay(painted.overview, expert_colours())
        picture = experts_png(grey, painted.experts, result.spatial.experts, result)
        files.write(f"{HEATMAPS_NAME}/{names[_EXPERTS]}", picture)
