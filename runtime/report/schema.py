"""`result.json`: what a run of `predict` found, as a versioned schema.

Every number that the report shows stands here. Expression is in standard deviations of the atlas (z, per marker, over
the atlas patches that measured it; per gene, over the spots) unless a field says otherwise; pixels are level-0 pixels
of the slide. `schema_spatial` has the part on genes.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from ..notice import RESEARCH_USE_ONLY
from .schema_parts import BiomarkerStatus, CalibrationSection, DeviceSection, Estimate, Section, TileStatus
from .schema_spatial import SpatialSection

SCHEMA_VERSION: Final = "1.3"


class BundleSection(Section):
    """The bundle that ran; `digest` is the SHA-256 of its manifest."""

    name: str
    version: str
    digest: str
    synthetic: bool
    statement: str = Field(
        description="What the bundle was made from, in one sentence, shown wherever its numbers are."
    )
    patches: int = Field(description="Number of mIF patches in the atlas; 0 where it holds genes alone.")
    patients: int = Field(description="Number of patients in the atlas; 0 where it holds genes alone.")


class StainSection(Section):
    """Whether the slide looks like H&E; a flag, not a diagnosis of the stain."""

    looks_like: Literal["H&E", "IHC", "fluorescence", "unknown"]
    reason: str


class SlideSection(Section):
    """The slide as it was read."""

    name: str
    format: str
    reader: str
    sha256: str
    width: int
    height: int
    levels: int
    mpp_x: float
    mpp_y: float
    mpp_source: str
    stain: StainSection
    warnings: list[str]


class UnreadableTile(Section):
    """A tile that could not be decoded and was left out."""

    x: int
    y: int
    reason: str


class TilesSection(Section):
    """How many tiles the grid has, and which filter took how many."""

    size: int = Field(description="Side of a tile in pixels, as the tower takes it.")
    mpp: float = Field(description="Micrometres per pixel at which tiles were read.")
    level: int = Field(description="Pyramid level that they were cut from.")
    extent: float = Field(description="Side of a tile in level-0 pixels.")
    grid: int = Field(description="Tiles on the grid over the whole slide.")
    background: int
    pen: int
    fold: int
    blur: int
    unreadable: int
    predicted: int = Field(description="Tiles with a prediction.")
    abstained: int = Field(description="Tiles read and embedded, but too far from all evidence.")
    unreadable_tiles: list[UnreadableTile]


class NotesSection(Section):
    """The clinical notes as the text tower saw them."""

    given: bool
    facts: dict[str, str] = Field(description="The facts whose names are known clinical ones.")
    prompt: str | None = Field(description="The prompt, or null where it holds free text or facts of unknown names.")
    tokens: int
    truncated: bool
    dropped: list[str] = Field(description="What was left out as an identifier, by kind, without its content.")
    markers_named: list[str] = Field(description="Markers that the notes name: the notes may hold the answer.")
    warnings: list[str]


class Biomarker(Section):
    """A marker over the whole slide."""

    marker: str
    status: BiomarkerStatus
    reason: str | None = Field(description="Why there is no value, or null.")
    value: float | None = Field(description="Mean over the predicted tiles, in z.")
    low: float | None
    high: float | None
    intensity: float | None = Field(description="The same on the atlas's scale of mean pixel intensity, 0 to 255.")
    spread: float | None = Field(description="Mean over tiles of the evidence's weighted standard deviation, in z.")
    tile_p10: float | None = Field(description="10th percentile over tiles, in z.")
    tile_p90: float | None
    tiles: int = Field(description="Tiles whose evidence measured the marker.")
    measured_share: float = Field(description="Share of the retrieved neighbours that measured the marker.")
    without_notes: Estimate
    named_in_notes: bool


class NeighbourMarker(Section):
    """What a neighbour measured for one marker."""

    marker: str
    intensity: float
    z: float


class Neighbour(Section):
    """One real mIF patch behind a tile's prediction."""

    rank: int
    patch: str
    section: str
    patient: str
    organ: str
    panel: str
    score: float = Field(description="Fused similarity that ranked it.")
    he_similarity: float
    text_similarity: float | None
    percentile: float | None = Field(
        description="Share (0 to 100) of held-out tiles whose own best match is less similar; null without calibration."
    )
    weight: float
    markers: list[NeighbourMarker]


class Evidence(Section):
    """A tile shown in the report, with the patches that speak for it."""

    tile: int = Field(description="Row of tiles.parquet.")
    x: int
    y: int
    why: str = Field(description="Why this tile is shown.")
    status: TileStatus
    similarity: float
    percentile: float | None
    neighbours: list[Neighbour]


class HeadClass(Section):
    """One class of a trained classifier."""

    name: str
    probability: float = Field(
        description="Calibrated probability for a slide classifier; mean over the tiles for a tile classifier."
    )
    in_set: bool | None = Field(
        description="Whether the set of classes that holds the true one with `coverage` names it; null for tiles."
    )
    tiles: int | None = Field(description="Tiles of which it is the likeliest class; null for a slide classifier.")


class SurvivalAt(Section):
    """Probability of no event until a time; null beyond the longest follow-up of the training patients."""

    months: float
    probability: float | None
    low: float | None
    high: float | None


class Risk(Section):
    """Where a slide lies among the head's training patients."""

    score: float = Field(description="The head's log-risk; higher is worse.")
    percentile: float = Field(description="Share (0 to 100) of the training patients with a lower risk.")
    low: float
    high: float
    group: Literal["low", "middle", "high"] = Field(description="Third of the training patients.")
    hazard_ratio: float | None = Field(description="Hazard relative to a training patient of average score.")
    survival: list[SurvivalAt]


class HeadFinding(Section):
    """What a trained head says about the slide, or why it says nothing."""

    name: str
    kind: Literal["tile_classifier", "slide_classifier", "survival"]
    target: str
    features: Literal["he", "he+text"]
    status: Literal["predicted", "refused"]
    reason: str | None = Field(description="Why there is no answer, or null.")
    tiles: int = Field(description="Tiles that it read.")
    classes: list[HeadClass]
    risk: Risk | None
    half_of_attention: int | None = Field(
        description="Fewest tiles that together carry half of the attention; null for a tile classifier."
    )
    coverage: float = Field(description="Probability that intervals and sets promise.")
    patients: int = Field(description="Training patients whose out-of-fold predictions calibrated this.")
    method: str
    metrics: dict[str, Any] = Field(description="What the nested cross-validation measured, from the bundle.")
    warnings: list[str]


class Result(Section):
    """Everything that one run found."""

    schema_version: Literal["1.3"] = SCHEMA_VERSION
    notice: Literal["For research use only. Not for use in diagnostic procedures."] = RESEARCH_USE_ONLY
    product: str
    bundle: BundleSection
    device: DeviceSection
    slide: SlideSection
    tiles: TilesSection
    notes: NotesSection
    parameters: dict[str, Any]
    calibration: CalibrationSection | None = Field(
        description="Null where no patient calibrates: then nothing has an interval and nothing abstains."
    )
    biomarkers: list[Biomarker]
    evidence: list[Evidence]
    heads: list[HeadFinding] = Field(description="One entry a trained head of the bundle.")
    spatial: SpatialSection | None = Field(
        None, description="What the mixture of experts says of genes; null where the bundle has none."
    )
    warnings: list[str] = Field(
        description="What a reader must know before trusting the numbers, most important first."
    )
    timing: dict[str, float] = Field(description="Seconds by stage; the only part that differs between equal runs.")
