"""SPADE at run time: which experts speak for a tile, and what the spots that look like it to them expressed.

The search, the intervals and the abstention are those of the mIF atlas (`retrieve`, `calibration`, `tiles`), over spots
instead of patches and genes instead of markers, and without notes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..arrow import list_column
from ..atlas import Atlas, open_atlas
from ..bundle import Bundle, SpadeSection
from ..engine import Engine, open_tower
from ..errors import BundleContentError
from ..slide import TilePlan
from .calibration import Calibration, CalibrationCases, calibrate, read_cases, uncalibrated, without_patients
from .embed import EmbeddedTiles
from .evidence import ChosenTile, choose_tiles
from .mixture import MixtureOutput, split_mixture
from .options import PredictOptions
from .retrieve import Retrieved, patients_allowed, retrieve
from .tiles import TileResults, judge_tiles, nullable, value_columns


@dataclass(frozen=True, slots=True)
class SpadeModel:
    """The mixture of a bundle with its spots: everything but the case.

    Attributes:
        bundle: The verified bundle.
        section: What its manifest says of the mixture.
        engine: Image encoder, routing and experts on the chosen device.
        atlas: The spots.
        cases: Calibration patients who are not excluded; None where there are none.
        allowed: (spots,) which spots may be evidence, or None for all.
        neighbours: Spots behind each tile.
    """

    bundle: Bundle
    section: SpadeSection
    engine: Engine
    atlas: Atlas
    cases: CalibrationCases | None
    allowed: NDArray[np.bool_] | None
    neighbours: int

    def search(self, vectors: NDArray[np.float32]) -> Retrieved:
        """The spots nearest to n tiles."""
        return retrieve(self.atlas, vectors, None, text_weight=0.0, neighbours=self.neighbours, allowed=self.allowed)

    def calibrate(self) -> Calibration:
        """What the calibration patients say about this way of predicting."""
        if self.section.calibration is None or self.cases is None:
            return uncalibrated(len(self.atlas.markers))
        return calibrate(
            self.atlas,
            self.cases,
            with_notes=False,
            text_weight=0.0,
            neighbours=self.neighbours,
            allowed=self.allowed,
            coverage=self.section.calibration.coverage,
        )


@dataclass(frozen=True, slots=True)
class SpadeFindings:
    """What the mixture found on a slide.

    Attributes:
        tiles: Every tile of the plan.
        output: Embedding and expert weights of every tile.
        searched: (s,) tiles that were read and are sharp.
        found: Their spots.
        chosen: Tiles to show.
        calibration: Intervals.
    """

    tiles: TileResults
    output: MixtureOutput
    searched: NDArray[np.int64]
    found: Retrieved
    chosen: tuple[ChosenTile, ...]
    calibration: Calibration

    @property
    def expert(self) -> NDArray[np.int32]:
        """(n,) the expert that weighs most, from 1 on; 0 for tiles that were not searched."""
        heaviest = np.zeros(len(self.output.experts), np.int32)
        heaviest[self.searched] = self.output.experts[self.searched].argmax(axis=1) + 1
        return heaviest


def open_spade(bundle: Bundle, options: PredictOptions, threads: int) -> SpadeModel:
    """Open a bundle's mixture and its atlas of spots.

    Raises:
        BundleContentError: It has no mixture, or no spots.
        DeviceUnavailableError: The asked-for device is not there.
        UsageError: Nobody is left in the atlas of spots.
    """
    section = bundle.manifest.need_spade()
    if section.atlas is None:
        raise BundleContentError(
            f"The bundle {bundle.manifest.name} has no atlas of spots, so there is no gene to speak of. Export it "
            "again with --atlas."
        )
    atlas = open_atlas(bundle, section.atlas)
    cases = None if section.calibration is None else read_cases(bundle, atlas, section.calibration)
    excluded = options.exclude_patients
    return SpadeModel(
        bundle=bundle,
        section=section,
        engine=open_tower(bundle, section.tower, device=options.device, threads=threads, strict=options.strict),
        atlas=atlas,
        cases=None if cases is None else without_patients(cases, excluded),
        allowed=patients_allowed(atlas, excluded),
        neighbours=options.neighbours or section.neighbours,
    )


def find_genes(
    model: SpadeModel,
    plan: TilePlan,
    embedded: EmbeddedTiles,
    searched: NDArray[np.int64],
) -> SpadeFindings:
    """Search the spots for every readable tile, and judge what was found.

    Args:
        model: The mixture.
        plan: The tiles.
        embedded: What the mixture's tower gave for them.
        searched: (s,) tiles that were read and are sharp.
    """
    mixture = split_mixture(embedded.vectors, model.section.dimension)
    found = model.search(mixture.vectors[searched])
    calibration = model.calibrate()
    own = replace(embedded, vectors=mixture.vectors)
    tiles = judge_tiles(plan, own, searched, found, found, model.atlas, calibration)
    chosen = choose_tiles(tiles, model.atlas.markers)
    return SpadeFindings(tiles, mixture, searched, found, chosen, calibration)


def gene_columns(findings: SpadeFindings, genes: tuple[str, ...]) -> dict[str, pa.Array]:
    """The columns of `tiles.parquet` on experts and genes; values are null where nothing is said."""
    tiles, expert = findings.tiles, findings.expert
    columns: dict[str, pa.Array] = {
        "spade_status": pa.array(tiles.status.tolist(), pa.string()),
        "spade_similarity": nullable(tiles.similarity),
        "spade_percentile": nullable(tiles.percentile),
        "expert": pa.array(expert, pa.int32(), mask=expert == 0),
    }
    columns |= value_columns(tiles, findings.calibration, [f"gene_{gene}" for gene in genes])
    columns["expert_weights"] = list_column(findings.output.experts)
    columns["spade_embedding"] = list_column(findings.output.embedding)
    return columns
