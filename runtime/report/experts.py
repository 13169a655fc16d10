"""The map of experts: which expert of the mixture weighs most in each tile, in colours that readers can tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .heatmap import OPACITY, TileMap, Underlay, blend, marker_values, paint, signed_png
from .legend import add_key, write_numbers
from .numbers import percent
from .schema import Result
from .schema_spatial import Expert

EXPERT_COLUMN = "expert"
"""Where `tiles.parquet` says which expert weighs most."""

LABEL_SHARES = (0.013, 0.018)
"""Least and greatest radius of an expert's number on the map, as shares of the picture's long side."""

_LABEL_OF_TILE = 0.42
"""Radius of a number between these bounds, as a share of a tile's side: it then stays within its tile."""

_COLOURS = (
    "960096 cde600 0096cd ff783c 1effb4 00783c cd96ff 5a3ccd b40000 963c78 e6b43c ff96b4 0078ff 5affff 96cd78 1eb400"
)
"""Sixteen colours, none so dark that it hides the tissue nor so dull that it passes for it, found by search so that
the two most alike differ most, and taken one after the other so that each lies farthest from those before it. Seen over
tissue of any two greys (90, 165 and 235), the two most alike differ by 0.083 in Oklab; over tissue of one grey, with
protan or deutan vision (Machado et al. 2009), by 0.049."""

_SHADES = (1.0, 0.62, 0.38)
"""Lightness of the first, the second and the third sixteen experts; after them colours come again."""

_TISSUE = 225
"""Grey level of bright tissue."""

_MOST = 250
"""Rows of the palette for experts."""


@dataclass(frozen=True, slots=True)
class ExpertLabel:
    """An expert's number on the overview.

    Attributes:
        expert: The number.
        x: Middle of a central tile of it, in overview pixels.
        y: The same, down.
    """

    expert: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class ExpertMap:
    """The map over the overview.

    Attributes:
        painted: (h, w) uint8 rows of a palette whose first are `expert_colours`.
        labels: At least one an expert that weighs most in some tile, and one in each other patch that has room.
        radius: Of a label, in overview pixels.
    """

    painted: NDArray[np.uint8]
    labels: tuple[ExpertLabel, ...]
    radius: float


def expert_colours() -> NDArray[np.uint8]:
    """Colours of the experts 1 to 250, (250, 3) uint8 RGB: sixteen, then darker shades of them."""
    own = np.frombuffer(bytes.fromhex(_COLOURS.replace(" ", "")), np.uint8).reshape(-1, 3)
    places = np.arange(_MOST)
    shades = np.array(_SHADES)[places // len(own) % len(_SHADES)]
    return np.asarray(np.rint(own[places % len(own)] * shades[:, None]), np.uint8)


def expert_colour(expert: int) -> tuple[int, int, int]:
    """Red, green and blue of an expert in a legend, by its number from 1 on: as it looks over bright tissue."""
    pure = expert_colours()[(expert - 1) % _MOST].astype(np.float64)
    red, green, blue = np.rint(OPACITY * pure + (1 - OPACITY) * _TISSUE).astype(int).tolist()
    return red, green, blue


def expert_map(tiles: pa.Table, tile_map: TileMap) -> ExpertMap:
    """Paint the experts, and find places for their numbers."""
    heaviest = marker_values(tiles, EXPERT_COLUMN)
    painted = paint(heaviest, tile_map, _index)
    side = _side(tile_map)
    least, most = (share * max(painted.shape) for share in LABEL_SHARES)
    radius = min(max(_LABEL_OF_TILE * side, least), most)
    return ExpertMap(painted, _labels(_patches(heaviest, tile_map), side, radius), radius)


def experts_png(below: Underlay, found: ExpertMap, experts: list[Expert], result: Result) -> bytes:
    """A whole picture: the slide in grey, the experts over it with their numbers, a legend below.

    Args:
        below: The slide, with `expert_colours`.
        found: The map.
        experts: For the legend.
        result: Gives the notice and the bundle for the legend.
    """
    picture = blend(below, found.painted)
    write_numbers(picture, [(label.expert, label.x, label.y) for label in found.labels], found.radius)
    entries = [(expert_colour(item.expert), f"Expert {item.expert}: {percent(item.share)}") for item in experts]
    return signed_png(add_key(picture, "Experts, and their share of the tissue", entries, result), result)


def _index(heaviest: NDArray[np.float32]) -> NDArray[np.uint8]:
    return ((heaviest.astype(np.int64) - 1) % _MOST).astype(np.uint8)


def _side(tile_map: TileMap) -> float:
    """Side of a tile in overview pixels, the shorter one."""
    return float(min(np.bincount(tile_map.columns).max(), np.bincount(tile_map.rows).max()))


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """Tiles of one expert that touch by their sides.

    Attributes:
        expert: The number.
        centres: (n, 2) middles of its tiles, (x, y) in overview pixels.
        depth: (n,) how far each tile lies from the patch's edge, in tiles; 1 at the edge.
    """

    expert: int
    centres: NDArray[np.float64]
    depth: NDArray[np.float64]

    def label(self, may: NDArray[np.bool_]) -> ExpertLabel:
        """A number in the thick of the patch: on the deepest tile of those that it `may` take, (n,)."""
        away = np.linalg.norm(self.centres - self.centres.mean(axis=0), axis=1)
        place = np.where(may, self.depth - 0.5 * away / (1 + away.max()), -np.inf)
        x, y = self.centres[int(place.argmax())].round(1).tolist()
        return ExpertLabel(self.expert, x, y)

    def free(self, placed: list[ExpertLabel], radius: float) -> NDArray[np.bool_]:
        """(n,) where a number would touch none of the others."""
        nearest = np.full(len(self.centres), np.inf)
        for label in placed:
            nearest = np.minimum(nearest, np.linalg.norm(self.centres - (label.x, label.y), axis=1))
        return np.asarray(nearest > 2 * radius, np.bool_)


def _patches(heaviest: NDArray[np.float32], tile_map: TileMap) -> list[list[_Patch]]:
    """The patches of each expert, the largest first; the experts of fewest tiles first."""
    grid, _ = tile_map.grid(heaviest)
    numbers, counts = np.unique(heaviest[np.isfinite(heaviest)].astype(np.int64), return_counts=True)
    patches = []
    for number in numbers[np.argsort(counts, kind="stable")].tolist():
        own = np.flatnonzero(heaviest == number)
        centres = np.array([tile_map.centre(tile) for tile in own.tolist()])
        depth, region = (part[tile_map.tile_rows[own], tile_map.tile_columns[own]] for part in _shape(grid == number))
        named, sizes = np.unique(region, return_counts=True)
        order = named[np.argsort(-sizes, kind="stable")].tolist()
        patches.append([_Patch(number, centres[region == name], depth[region == name]) for name in order])
    return patches


def _shape(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """How far each cell of a grid lies from the mask's edge, in cells, and which connected region it lies in."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float64)
    regions = np.asarray(cv2.connectedComponents(padded, connectivity=4)[1], np.int32)
    return depth[1:-1, 1:-1], regions[1:-1, 1:-1]


def _labels(patches: list[list[_Patch]], side: float, radius: float) -> tuple[ExpertLabel, ...]:
    """A number for each expert, on its largest patch that is clear of the others; then for each patch with room."""
    placed: list[ExpertLabel] = []
    others: list[_Patch] = []
    for own in patches:
        clear = [patch.free(placed, radius) for patch in own]
        first = next((index for index, free in enumerate(clear) if free.any()), 0)
        placed.append(own[first].label(clear[first] if clear[first].any() else np.ones_like(clear[first])))
        others += own[:first] + own[first + 1 :]
    for patch in sorted(others, key=lambda patch: -len(patch.depth)):
        room = (patch.depth - 0.5) * side >= radius
        may = room & patch.free(placed, radius) if room.any() else room
        if may.any():
            placed.append(patch.label(may))
    return tuple(sorted(placed, key=lambda label: (label.expert, label.y, label.x)))
