"""Heatmaps: one value a tile, painted over the slide's overview."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .colour import HATCH, colour_index, colour_map
from .legend import add_legend
from .schema import Result

_HATCH_LIGHT, _HATCH_DARK, _TRANSPARENT = 252, 253, 255
"""Palette entries after the colours: both stripes of a tile without an estimate, and no tile."""

_HATCH_PERIOD = 6
"""Pixels from stripe to stripe; half of it is each stripe's width."""

_GREY = (0.299, 0.587, 0.114)
"""Luma weights of ITU-R BT.601."""

_COMPRESSION = 1
"""Of zlib: tissue hardly packs better with more (5 % at four times the time)."""

OPACITY = 0.72
"""Share of colour over tissue: the hue stays readable and the glands stay visible."""


@dataclass(frozen=True, slots=True)
class TileMap:
    """Where on the overview which row of the tile grid lies.

    Attributes:
        columns: (w,) int32, grid column under each overview pixel.
        rows: (h,) int32, grid row under each overview pixel.
        tile_columns: (n,) int32, column of each tile of the table.
        tile_rows: (n,) int32, row of each tile of the table.
    """

    columns: NDArray[np.int32]
    rows: NDArray[np.int32]
    tile_columns: NDArray[np.int32]
    tile_rows: NDArray[np.int32]

    def grid(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """One value a tile as a grid.

        Args:
            values: (n,) float32 by row of the table, NaN where nothing is said.

        Returns:
            (rows, columns) float32, NaN where nothing is said, and bool of the same shape: whether there is a tile.
        """
        shape = (
            1 + max(int(self.rows.max(initial=0)), int(self.tile_rows.max(initial=0))),
            1 + max(int(self.columns.max(initial=0)), int(self.tile_columns.max(initial=0))),
        )
        grid = np.full(shape, np.nan, dtype=np.float32)
        there = np.zeros(shape, dtype=np.bool_)
        grid[self.tile_rows, self.tile_columns] = values
        there[self.tile_rows, self.tile_columns] = True
        return grid, there

    def centre(self, tile: int) -> tuple[float, float]:
        """The middle of a tile of the table, (x, y) in overview pixels."""
        across = np.flatnonzero(self.columns == self.tile_columns[tile])
        down = np.flatnonzero(self.rows == self.tile_rows[tile])
        return float(across.mean() + 0.5), float(down.mean() + 0.5)


def map_tiles(result: Result, tiles: pa.Table, shape: tuple[int, int], scale: tuple[float, float]) -> TileMap:
    """Find the tile under each pixel of an overview.

    Args:
        result: Gives the tile's size and the slide's resolution, per axis.
        tiles: The tiles table.
        shape: (h, w) of the overview.
        scale: Level-0 pixels per overview pixel, (down, across).
    """
    extent_x, extent_y = tile_extent(result)
    return TileMap(
        columns=((np.arange(shape[1]) + 0.5) * scale[1] / extent_x).astype(np.int32),
        rows=((np.arange(shape[0]) + 0.5) * scale[0] / extent_y).astype(np.int32),
        tile_columns=tiles["column"].to_numpy().astype(np.int32),
        tile_rows=tiles["row"].to_numpy().astype(np.int32),
    )


def tile_extent(result: Result) -> tuple[float, float]:
    """Width and height of a tile in level-0 pixels, which differ where the slide's pixels are not square."""
    side = result.tiles.size * result.tiles.mpp
    return side / result.slide.mpp_x, side / result.slide.mpp_y


def marker_values(tiles: pa.Table, marker: str) -> NDArray[np.float32]:
    """One marker's column of the tiles table, (n,) float32, NaN for null or where the table has no such column."""
    if marker not in tiles.column_names:
        return np.full(len(tiles), np.nan, dtype=np.float32)
    column = tiles[marker].combine_chunks()
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)


def paint(
    values: NDArray[np.float32],
    tile_map: TileMap,
    index: Callable[[NDArray[np.float32]], NDArray[np.uint8]] = colour_index,
) -> NDArray[np.uint8]:
    """Paint values into palette indices over the overview.

    Args:
        values: (n,) float32 by row of the tiles table, in z unless `index` says otherwise; NaN tiles are hatched grey.
        tile_map: Where the tiles lie.
        index: The row of the palette for finite values, at most 250.

    Returns:
        (h, w) uint8 rows of `palette()`.
    """
    grid, there = tile_map.grid(values)
    said = np.isfinite(grid)
    indices = np.full(grid.shape, _TRANSPARENT, dtype=np.uint8)
    indices[said] = index(grid[said])
    indices[there & ~said] = _HATCH_LIGHT
    painted = indices[tile_map.rows][:, tile_map.columns]
    down, across = np.nonzero(painted == _HATCH_LIGHT)
    dark = (down + across) % _HATCH_PERIOD >= _HATCH_PERIOD // 2
    painted[down[dark], across[dark]] = _HATCH_DARK
    return painted


def palette(own: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The 256 colours that `paint` refers to, (256, 3) uint8.

    Args:
        own: (n, 3) uint8 RGB of the first n rows, at most 251; by default those of z.
    """
    first = colour_map() if own is None else own
    colours = np.full((256, 3), 255, dtype=np.uint8)
    colours[: len(first)] = first
    colours[_HATCH_LIGHT], colours[_HATCH_DARK] = HATCH
    return colours


def overlay_png(painted: NDArray[np.uint8], own: NDArray[np.uint8] | None = None) -> bytes:
    """What `paint` gave as a small PNG, transparent where there is no tile; `own` as `palette` takes it."""
    image = Image.frombytes("P", (painted.shape[1], painted.shape[0]), painted.tobytes())
    image.putpalette(palette(own).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=_TRANSPARENT, optimize=False)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Underlay:
    """What all heatmaps of a slide share, made once.

    Attributes:
        grey: (h, w) uint16, the overview's luma times 256, so that a palette index can be added.
        blends: (65536, 3) uint8 RGB: the colour of a luma times 256 plus a palette index.
    """

    grey: NDArray[np.uint16]
    blends: NDArray[np.uint8]


def underlay(overview: NDArray[np.uint8], own: NDArray[np.uint8] | None = None) -> Underlay:
    """The overview in grey, ready for heatmaps.

    Args:
        overview: (h, w, 3) uint8 RGB.
        own: Colours, as `palette` takes them.
    """
    luma = np.rint(overview.astype(np.float32) @ np.array(_GREY, dtype=np.float32)).astype(np.uint16)
    levels = np.arange(256, dtype=np.float32)[:, None, None]
    blends = levels * (1 - OPACITY) + palette(own).astype(np.float32) * OPACITY
    blends[:, _TRANSPARENT] = levels[:, 0]
    return Underlay(luma * 256, np.rint(blends).astype(np.uint8).reshape(-1, 3))


def heatmap_png(
    below: Underlay, painted: NDArray[np.uint8], marker: str, result: Result, atlas: str = "the atlas"
) -> bytes:
    """A whole picture: the slide in grey, the heatmap over it, a legend below.

    Args:
        below: The slide.
        painted: (h, w) uint8 from `paint`.
        marker: Name for the legend.
        result: Gives the notice and the bundle for the legend.
        atlas: Whose standard deviations the legend names.
    """
    return signed_png(add_legend(blend(below, painted), marker, result, atlas), result)


def blend(below: Underlay, painted: NDArray[np.uint8]) -> Image.Image:
    """The slide in grey with what `paint` gave over it."""
    return Image.fromarray(below.blends.take(below.grey + painted, axis=0))


def signed_png(image: Image.Image, result: Result) -> bytes:
    """A picture as PNG that names its bundle and its use."""
    said = PngInfo()
    said.add_text("Disclaimer", result.notice)
    said.add_text("Source", f"bundle {result.bundle.name} {result.bundle.version} {result.bundle.digest}")
    stream = io.BytesIO()
    image.save(stream, "PNG", pnginfo=said, compress_level=_COMPRESSION)
    return stream.getvalue()
