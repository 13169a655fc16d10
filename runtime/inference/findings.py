"""What a run found, family by family, before it is put into words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..slide import TilePlan
from .calibration import Calibration
from .embed import EmbeddedTiles
from .evidence import ChosenTile
from .families import Families
from .head_findings import HeadResult
from .retrieve import Retrieved
from .spade import SpadeFindings, gene_columns
from .tiles import TileResults, marker_columns, tile_table


@dataclass(frozen=True, slots=True)
class Findings:
    """What Haiku found on a slide.

    Attributes:
        tiles: Every tile of the plan.
        found: Neighbours with the notes, for the readable tiles.
        chosen: Tiles to show.
        heads: What the bundle's trained heads say.
        calibration: Intervals of the prediction with notes.
        calibration_alone: Intervals of the prediction without notes.
    """

    tiles: TileResults
    found: Retrieved
    chosen: tuple[ChosenTile, ...]
    heads: tuple[HeadResult, ...]
    calibration: Calibration
    calibration_alone: Calibration


@dataclass(frozen=True, slots=True)
class AllFindings:
    """What every family found on a slide.

    Attributes:
        families: Whom was asked.
        searched: (s,) tiles that were read and are sharp.
        haiku: Proteins, or None.
        spade: Genes, or None.
    """

    families: Families
    searched: NDArray[np.int64]
    haiku: Findings | None
    spade: SpadeFindings | None

    @property
    def tiles(self) -> TileResults:
        """What became of every tile, by the first family."""
        first = self.haiku or self.spade
        assert first is not None
        return first.tiles

    def shown(self) -> list[int]:
        """Rows of the plan that the report shows, each once."""
        chosen = [own.chosen for own in (self.haiku, self.spade) if own is not None]
        return sorted({tile.tile for own in chosen for tile in own})

    def table(self, plan: TilePlan, embedded: EmbeddedTiles) -> pa.Table:
        """The rows of `tiles.parquet`."""
        columns = []
        if self.haiku is not None and self.families.haiku is not None:
            heads = {name: values for head in self.haiku.heads for name, values in head.columns.items()}
            markers = self.families.haiku.atlas.markers
            columns.append(marker_columns(self.haiku.tiles, self.haiku.calibration, markers, self.searched, heads))
        if self.spade is not None and self.families.spade is not None:
            columns.append(gene_columns(self.spade, self.families.spade.atlas.markers))
        return tile_table(plan, embedded, self.tiles, columns)
