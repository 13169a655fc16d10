"""Which tiles the report shows, and the real patches behind each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from ..report.schema import Evidence, Neighbour, NeighbourMarker
from .calibration import Calibration
from .retrieve import Retrieved
from .tiles import TileResults

TYPICAL = "closest to the slide's average appearance"
DIFFERENT = "looks most unlike those shown before"
WELL_FILLED = 0.6
"""Share of tissue from which a tile shows tissue rather than its edge."""

_DIVERSE_TILES = 4
_EXTREME_TILES = 3


@dataclass(frozen=True, slots=True)
class ChosenTile:
    """A tile to show.

    Attributes:
        tile: Row of the plan.
        why: In words.
    """

    tile: int
    why: str


def choose_tiles(tiles: TileResults, markers: tuple[str, ...]) -> tuple[ChosenTile, ...]:
    """Pick a handful of tiles that stand for the slide.

    One typical tile, the tiles that look most different from those before them (farthest-point sampling on the H&E
    vectors), and the tile with the highest value of each marker that varies most over the slide. Where every tile
    abstains, abstaining tiles are shown: the reader should see what the nearest evidence would have been.
    """
    candidates = _candidates(tiles)
    if not len(candidates):
        return ()
    chosen = _diverse(tiles.vectors, candidates)
    taken = {tile.tile for tile in chosen}
    highest = [tile for tile in _extreme(tiles, candidates, markers) if tile.tile not in taken]
    unique = {tile.tile: tile for tile in reversed([*chosen, *highest])}
    return tuple(reversed(unique.values()))


def _candidates(tiles: TileResults) -> NDArray[np.int64]:
    """Predicted tiles rather than abstaining ones, and of these those that are mostly tissue where there are any."""
    for status in ("predicted", "abstained"):
        for least in (WELL_FILLED, 0.0):
            found = np.flatnonzero((tiles.status == status) & (tiles.tissue >= least))
            if len(found):
                return found
    return np.empty(0, np.int64)


def _diverse(vectors: NDArray[np.float32], candidates: NDArray[np.int64]) -> list[ChosenTile]:
    own = vectors[candidates]
    centre = own.mean(axis=0)
    picked = [int(np.argmax(own @ centre))]
    nearest = own @ own[picked[0]]
    while len(picked) < min(1 + _DIVERSE_TILES, len(candidates)):
        picked.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, own @ own[picked[-1]])
    reasons = [TYPICAL] + [DIFFERENT] * (len(picked) - 1)
    return [ChosenTile(int(candidates[i]), why) for i, why in zip(picked, reasons, strict=True)]


def _extreme(tiles: TileResults, candidates: NDArray[np.int64], markers: tuple[str, ...]) -> list[ChosenTile]:
    values = np.nan_to_num(tiles.expression.value[candidates], nan=-np.inf)
    finite = np.where(np.isfinite(values), values, np.nan)
    measured = np.isfinite(finite).any(axis=0)
    deviation = np.zeros(len(markers))
    deviation[measured] = np.nanstd(finite[:, measured], axis=0)
    varied = [m for m in np.argsort(-deviation, kind="stable")[:_EXTREME_TILES] if deviation[m] > 0]
    return [ChosenTile(int(candidates[np.argmax(values[:, m])]), f"highest {markers[m]} on the slide") for m in varied]


def gather_evidence(
    chosen: tuple[ChosenTile, ...], tiles: TileResults, found: Retrieved, atlas: Atlas, calibration: Calibration
) -> list[Evidence]:
    """Describe the neighbours of the chosen tiles."""
    return [
        Evidence(
            tile=tile.tile,
            x=int(tiles.origins[tile.tile, 0]),
            y=int(tiles.origins[tile.tile, 1]),
            why=tile.why,
            status=tiles.status[tile.tile],
            similarity=float(tiles.similarity[tile.tile]),
            percentile=known(tiles.percentile[tile.tile]),
            neighbours=_neighbours(found, tiles.row_of[tile.tile], atlas, calibration),
        )
        for tile in chosen
    ]


def _neighbours(found: Retrieved, row: int, atlas: Atlas, calibration: Calibration) -> list[Neighbour]:
    percentiles = calibration.percentile(found.he_similarity[row])
    return [
        Neighbour(
            rank=rank + 1,
            patch=str(atlas.patches[patch]),
            section=str(atlas.sections[patch]),
            patient=str(atlas.patients[patch]),
            organ=str(atlas.organs[patch]),
            panel=str(atlas.panels[patch]),
            score=float(found.scores[row, rank]),
            he_similarity=float(found.he_similarity[row, rank]),
            text_similarity=None if found.text_similarity is None else float(found.text_similarity[row, rank]),
            percentile=known(percentiles[rank]),
            weight=float(found.weights[row, rank]),
            markers=_measured(atlas, int(patch)),
        )
        for rank, patch in enumerate(found.ids[row])
        if patch >= 0
    ]


def known(value: np.float32) -> float | None:
    """A number, or None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def _measured(atlas: Atlas, patch: int) -> list[NeighbourMarker]:
    return [
        NeighbourMarker(marker=name, intensity=float(atlas.expression[patch, m]), z=float(atlas.z[patch, m]))
        for m, name in enumerate(atlas.markers)
        if np.isfinite(atlas.expression[patch, m])
    ]
