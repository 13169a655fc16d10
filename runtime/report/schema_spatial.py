"""The part of `result.json` on genes: what the mixture of experts found (SPADE, 2506.21857).

Expression is in standard deviations of the atlas of spots (z, per gene) unless a field says otherwise.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .schema_parts import BiomarkerStatus, CalibrationSection, DeviceSection, Section, TileStatus


class Gene(Section):
    """A gene over the whole slide."""

    gene: str
    status: BiomarkerStatus
    reason: str | None = Field(description="Why there is no value or no interval, or null.")
    value: float | None = Field(description="Mean over the predicted tiles, in z.")
    low: float | None
    high: float | None
    expression: float | None = Field(description="The same as ln(1 + counts per 10,000).")
    spread: float | None = Field(description="Mean over tiles of the evidence's weighted standard deviation, in z.")
    tile_p10: float | None = Field(description="10th percentile over tiles, in z.")
    tile_p90: float | None
    tiles: int = Field(description="Tiles whose evidence measured the gene.")


class Expert(Section):
    """One expert of the mixture, and how much of the slide it speaks for."""

    expert: int = Field(description="Its number, from 1 on, as in the tiles table.")
    share: float = Field(description="Mean of its weight over the readable tiles, 0 to 1.")
    tiles: int = Field(description="Readable tiles in which no expert weighs more.")
    spots: int = Field(description="Spots of the atlas in which it weighs most.")
    organs: list[str] = Field(description="Organs that they come from, the commonest first.")
    genes: list[str] = Field(description="Genes that are highest in them, the highest first.")


class SpotGene(Section):
    """What a spot measured of one gene."""

    gene: str
    expression: float = Field(description="ln(1 + counts per 10,000).")
    z: float


class Spot(Section):
    """One real spot behind a tile's prediction."""

    rank: int
    spot: str
    section: str
    patient: str
    organ: str
    similarity: float = Field(description="Cosine of the tile's embedding and the spot's.")
    percentile: float | None = Field(
        description="Share (0 to 100) of held-out spots whose own best match is less similar; null without calibration."
    )
    weight: float
    genes: list[SpotGene] = Field(description="The genes that it measured farthest from average, the farthest first.")


class SpotEvidence(Section):
    """A tile shown in the report, with the spots that speak for it."""

    tile: int = Field(description="Row of tiles.parquet.")
    x: int
    y: int
    why: str = Field(description="Why this tile is shown.")
    status: TileStatus
    expert: int = Field(description="The expert that weighs most, from 1 on.")
    similarity: float
    percentile: float | None
    neighbours: list[Spot] = Field(description="The spots that weigh most, at most ten, the most similar first.")


class SpatialSection(Section):
    """What the slide's morphology says of gene expression, by the experience of real spots."""

    device: DeviceSection
    tile_size: int = Field(description="Side in pixels of what the mixture sees: the centre of each tile.")
    mpp: float = Field(description="Micrometres per pixel of it.")
    spots: int = Field(description="Number of spots in the atlas.")
    patients: int = Field(description="Number of patients in the atlas of spots.")
    keys: Literal["image", "expression"] = Field(
        description="What a tile is compared with: the spots' own H&E, or their counts, each as the experts embed it."
    )
    neighbours: int = Field(description="Spots behind each tile.")
    predicted: int = Field(description="Tiles with a prediction.")
    abstained: int = Field(description="Tiles read and embedded, but too far from all spots.")
    calibration: CalibrationSection | None = Field(
        description="Null where no patient calibrates: then nothing has an interval and nothing abstains."
    )
    genes: list[Gene]
    evidence: list[SpotEvidence]
    experts: list[Expert]
    experts_a_tile: float = Field(
        description="How many experts speak for a tile: exp of the mean entropy of their weights; 1 is one alone."
    )
