"""`result.json` of a counterfactual, as a versioned schema.

Prevalence is the share, 0 to 1, of a tile's evidence that is positive for a marker, weighted by how well it matches.
Every number that the report shows stands here.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..notice import RESEARCH_USE_ONLY
from ..report.schema import BundleSection, NotesSection, SlideSection
from ..report.schema_parts import DeviceSection

SCHEMA_VERSION: Final = "1.1"
EXPLORATORY: Final = (
    "Exploratory. The tissue and every measured patch stay as they are; only the text of the search was edited. A "
    "change says which other patches the model finds for the edited text, not what would happen to a patient."
)
CANNOT_SAY: Final = (
    "It is not causal: nobody's stage, grade or outcome was changed, and patients with other facts differ in more than "
    "these.",
    "It is no forecast of treatment, survival or progression, and no measurement of this tissue.",
    "It can show only what the atlas holds: patients, organs and panels as they happened to be collected.",
    "A small p within one slide says that the shift is alike all over the slide, which one text for all its tiles "
    "makes likely. Whether the edited fact matters more than any other words is for the comparison with random edits, "
    "and whether it holds among patients is for a cohort.",
    "An edit that moves more than random ones shows that the model hears these words, not that what it makes of them "
    "is true.",
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EditSection(_Section):
    """One edited fact; its words are null where the field's name is not a known clinical one."""

    field: str | None
    before: str | None
    after: str | None
    atlas_patients_before: int = Field(description="Atlas patients with the original value.")
    atlas_patients_after: int = Field(description="Atlas patients with the edited value; 0: the atlas has not seen it.")
    atlas_patients_known: int = Field(description="Atlas patients of whom this fact is known at all.")


class TextSection(_Section):
    """The two prompts."""

    cosine: float = Field(description="Between the vectors of the original and the edited notes; 1: nothing changes.")
    prompt_before: str | None = Field(description="Null where the notes hold facts that an output does not repeat.")
    prompt_after: str | None


class TilesSection(_Section):
    """Which tiles were analysed."""

    size: int
    mpp: float
    extent: float = Field(description="Side of a tile in level-0 pixels.")
    used: int
    abstained: int = Field(description="Read and embedded, but unlike everything in the atlas.")
    blur: int
    unreadable: int
    embedding: Literal["computed", "resumed", "from the finished prediction"]


class BlocksSection(_Section):
    """The units of the statistics within the slide."""

    side_mm: float
    count: int
    tiles: int = Field(description="Tiles in them; the others lie in blocks with too few.")


class Parts(_Section):
    """A change split by a grouping of the atlas; the two parts sum to it."""

    composition: float | None = Field(description="Because other groups are retrieved.")
    within: float | None = Field(description="Because other patches of the same groups are retrieved.")


class Change(_Section):
    """One marker's change, over the slide or over a niche."""

    marker: str
    before: float | None = Field(description="Mean prevalence with the original notes, 0 to 1.")
    after: float | None
    difference: float | None
    low: float | None = Field(description="95 % interval, by bootstrap over spatial blocks.")
    high: float | None
    effect_size: float | None = Field(description="d_z over spatial blocks.")
    p: float | None = Field(description="By flipping the signs of spatial blocks.")
    p_wilcoxon: float | None = Field(description="Signed-rank test over spatial blocks.")
    q: float | None = Field(description="Benjamini and Hochberg, over the markers (for niches: and all niches).")
    tiles: int
    blocks: int


class MarkerChange(Change):
    """One marker over the slide."""

    random_p: float | None = Field(description="Share of random edits, this one counted, that move it as far.")
    random_low: float | None = Field(description="2.5th percentile of the change under random edits.")
    random_high: float | None
    parts: dict[str, Parts] = Field(description="By grouping of the atlas: organ, panel, patient, edited fields.")


class NicheSection(_Section):
    """Tiles that look alike."""

    number: int
    tiles: int
    highest: list[str] = Field(description="Markers that stand out here with the original notes, against the slide.")
    markers: list[Change]


class RandomSection(_Section):
    """What edits of the same number of fields to other atlas patients' values do."""

    edits: int
    fields: int
    tiles: int = Field(description="Tiles over which edits are compared.")
    mean_change: float | None = Field(description="Mean absolute change over the markers, of the edit in question.")
    random_median: float | None = Field(description="The same of a random edit, median.")
    p: float | None = Field(description="Share of the edits, this one counted, with as large a mean change.")


class GroupShare(_Section):
    """Share of all tiles' evidence that one group of patches holds."""

    group: str
    before: float
    after: float


class GallerySection(_Section):
    """How the evidence itself changed."""

    turnover: float = Field(description="Mean Jaccard distance between a tile's evidence before and after.")
    renewed: float = Field(description="Mean share of a tile's evidence that is new.")
    effective_patients_before: float = Field(description="1 / Σ share², the number of patients that evidence rests on.")
    effective_patients_after: float
    groups: dict[str, list[GroupShare]]


class ShownPatch(_Section):
    """One mIF patch behind a tile."""

    patch: str
    patient: str
    organ: str
    panel: str
    score: float
    facts: dict[str, str] = Field(description="Its patient's values of the edited fields.")


class ShownTile(_Section):
    """A tile, with the patches that the edit took from its evidence and brought to it."""

    tile: int = Field(description="Row of counterfactual.parquet.")
    x: int
    y: int
    niche: int
    why: str
    stay: int = Field(description="Patches that are evidence under both notes.")
    went: list[ShownPatch] = Field(description="Best ranked patches that are evidence under the original notes alone.")
    came: list[ShownPatch] = Field(description="Best ranked patches that are evidence under the edited notes alone.")


class CounterfactualResult(_Section):
    """Everything that one run found."""

    schema_version: Literal["1.1"] = SCHEMA_VERSION
    kind: Literal["counterfactual"] = "counterfactual"
    notice: Literal["For research use only. Not for use in diagnostic procedures."] = RESEARCH_USE_ONLY
    exploratory: str = EXPLORATORY
    cannot_say: list[str] = list(CANNOT_SAY)
    product: str
    bundle: BundleSection
    device: DeviceSection
    slide: SlideSection
    tiles: TilesSection
    notes: NotesSection
    edits: list[EditSection]
    text: TextSection
    parameters: dict[str, Any]
    positivity: str | None = Field(description="When an atlas patch counts as positive.")
    blocks: BlocksSection
    markers: list[MarkerChange] = Field(description="The largest change first.")
    niches: list[NicheSection]
    random_edits: RandomSection
    gallery: GallerySection
    evidence: list[ShownTile]
    warnings: list[str] = Field(description="What a reader must know first, most important first.")
    timing: dict[str, float] = Field(description="Seconds by stage; the only part that differs between equal runs.")
