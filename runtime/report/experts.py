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

LABEL_SHARE = 0.018
"""Radius of an expert's number on the map, as a share of the picture's long side."""

_COLOURS = (
    "aa4499 f7f056 66ccee ee7733 dc050c cc79a7 90c987 f6c141 cae0ab 009e73 882e72 0077bb 4eb265 e69f00 117733 77aadd"
)
"""Colours of P. Tol ('Colour Schemes', 2021) and of Okabe and Ito, none so dark that it hides the tissue, taken one
after the other so that each lies farthest in Oklab from those before it, as seen over grey tissue with normal, protan
and deutan vision (Machado et al. 2009). The two most alike of the sixteen differ by 0.05; of Tol's bright and muted
sets together, by 0.006."""

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
        labels: One an expert that weighs most in some tile.
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
    """Paint the experts, and find a place for each one's number."""
    heaviest = marker_values(tiles, EXPERT_COLUMN)
    painted = paint(heaviest, tile_map, _index)
    radius = LABEL_SHARE * max(painted.shape)
    return ExpertMap(painted, _labels(heaviest, tile_map, radius), radius)


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


def _labels(heaviest: NDArray[np.float32], tile_map: TileMap, radius: float) -> tuple[ExpertLabel, ...]:
    """A label in the thick of each expert's largest region, clear of the others where its tiles allow it."""
    grid, _ = tile_map.grid(heaviest)
    numbers, counts = np.unique(heaviest[np.isfinite(heaviest)].astype(np.int64), return_counts=True)
    placed: list[ExpertLabel] = []
    for number in numbers[np.argsort(counts, kind="stable")].tolist():
        own = np.flatnonzero(heaviest == number)
        centres = np.array([tile_map.centre(tile) for tile in own.tolist()])
        cells = tile_map.tile_rows[own], tile_map.tile_columns[own]
        depth, largest = _shape(grid == number)
        place = _central(depth[cells], largest[cells], centres)
        free = _apart(centres, placed) > 2 * radius
        place = np.where(free, place, place - 1e6) if free.any() else place
        x, y = centres[int(place.argmax())].round(1).tolist()
        placed.append(ExpertLabel(number, x, y))
    return tuple(sorted(placed, key=lambda label: label.expert))


def _shape(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How far each cell of a grid lies from the mask's edge, in cells, and whether it lies in its largest region."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float64)
    _, regions, sizes, _ = cv2.connectedComponentsWithStats(padded, connectivity=4)
    largest = regions == 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())
    return depth[1:-1, 1:-1], np.asarray(largest[1:-1, 1:-1], np.bool_)


def _central(
    depth: NDArray[np.float64], largest: NDArray[np.bool_], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A score of each tile: the deepest of the largest region is best, among equals the one nearest to its middle."""
    away = np.linalg.norm(centres - centres[largest].mean(axis=0), axis=1)
    return np.asarray(depth + len(depth) * largest - 0.5 * away / (1 + away.max()), np.float64)


def _apart(centres: NDArray[np.float64], placed: list[ExpertLabel]) -> NDArray[np.float64]:
    """Pixels from each place to the nearest label."""
    if not placed:
        return np.full(len(centres), np.inf)
    others = np.array([(label.x, label.y) for label in placed])
    return np.asarray(np.linalg.norm(centres[:, None] - others[None], axis=-1).min(axis=1), np.float64)
