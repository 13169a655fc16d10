"""The sections of a manifest: each part of a bundle, and the rules that it must keep.

The models are frozen and take no unknown key. Besides types they check meaning: every path stays inside the bundle.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

MAX_FILE_BYTES = 64 << 30
"""Largest file that a manifest may list: a guard against nonsense, an order above an atlas of 26 million patches."""

_PATH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
ESCAPES = "path_leaves_bundle"


def _check_path(path: str) -> str:
    """Pass a relative POSIX path of plain ASCII names; `..`, absolute paths, backslashes and hidden names fail."""
    parts = path.replace("\\", "/").split("/")
    if ".." in parts or path.startswith(("/", "\\", "~")) or "\\" in path or ":" in path or "\x00" in path:
        raise PydanticCustomError(ESCAPES, "the path could leave the bundle")
    if len(path) > 200 or not re.fullmatch(_PATH_PATTERN[1:-1], path):
        raise ValueError("a path is made of letters, digits, '.', '_' and '-', with '/' between folders")
    return path


BundlePath = Annotated[str, AfterValidator(_check_path), Field(json_schema_extra={"pattern": _PATH_PATTERN})]
Positive = Annotated[int, Field(gt=0)]
Microns = Annotated[float, Field(gt=0, le=100, description="micrometres per pixel")]
Correlation = Annotated[float, Field(ge=-1, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Storage = Literal["fp32", "fp16"]
"""How a graph's weights lie on disk; the arithmetic is fp32 either way."""


class Section(BaseModel):
    """Any section: frozen, strict, and without keys of its own making."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Tower(Section):
    """A tower's graph. Weights above 2 GB, which one ONNX file can't hold, lie in files of their own beside it."""

    file: BundlePath
    weights: tuple[BundlePath, ...] = ()
    storage: Storage = "fp32"


class HETower(_Tower):
    """The tower that embeds H&E tiles of `tile_size` pixels at `mpp` micrometres per pixel."""

    tile_size: Positive
    mpp: Microns


class TextTower(_Tower):
    """The tower that embeds at most `max_length` tokens of clinical text."""

    tokenizer: BundlePath
    max_length: Positive


class MifTower(_Tower):
    """The tower that embeds mIF patches of `patch_size` pixels at `mpp` micrometres per pixel.

    Attributes:
        markers: Names of the rows of its marker table, from row 1 on; row 0 stands for no channel.
    """

    patch_size: Positive
    mpp: Microns
    markers: Annotated[tuple[Name, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_each_marker_once(self) -> Self:
        if len(set(self.markers)) != len(self.markers):
            raise ValueError("a marker is named twice")
        return self


class CalibrationSection(Section):
    """The cases from which intervals are made, and the coverage that they state."""

    file: BundlePath
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    patients: Positive
    cases: Positive


class Agreement(Section):
    """How well a student agrees with its teacher, on tiles of slides and patients that it did not learn from.

    Attributes:
        tiles: Tiles measured on.
        slides: Slides that they are of.
        patients: Patients that these are of.
        cosine_least: Least cosine of a tile's two vectors.
        cosine_mean: Mean cosine.
        neighbour_overlap: Share of the five nearest atlas patches that both find; None without an atlas.
        biomarker_pearson: Pearson correlation of the tiles' biomarkers, the student's with the teacher's: mean over the
            markers; None without an atlas, or where too few tiles have a value.
        biomarker_pearson_least: The same, of the marker that agrees least.
        truth_pearson_teacher: Pearson correlation of the teacher's biomarkers with what was measured on the very tiles:
            mean over the markers; None where nothing was measured.
        truth_pearson_student: The student's.
    """

    tiles: Positive
    slides: Positive
    patients: Positive
    cosine_least: Correlation
    cosine_mean: Correlation
    neighbour_overlap: Annotated[float, Field(ge=0, le=1)] | None = None
    biomarker_pearson: Correlation | None = None
    biomarker_pearson_least: Correlation | None = None
    truth_pearson_teacher: Correlation | None = None
    truth_pearson_student: Correlation | None = None


class StudentSection(HETower):
    """A small H&E tower that learned to give the vectors of the bundle's own: what a processor runs.

    Attributes:
        kind: Its class: a small vision transformer, or convolutions.
        parameters: Trained numbers.
        agreement: How well it agrees with the bundle's own tower.
        calibration: The calibration cases as it embeds them; None where nobody had their tiles: what it predicts then
            has no intervals.
    """

    kind: Literal["vit-s", "mobile"]
    parameters: Positive
    agreement: Agreement
    calibration: CalibrationSection | None = None

    @property
    def name(self) -> str:
        """How outputs, engines and golden cases call it."""
        return f"student-{self.kind}"


class Retrieval(Section):
    """How the evidence is searched (Haiku, 2605.00925, zero-shot biomarker inference: 0.8 H&E + 0.2 text, top 5)."""

    text_weight: Annotated[float, Field(ge=0, le=1)] = 0.2
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 5


class IndexSection(Section):
    """How the atlas is searched. An exact index needs no file; a graph has one, and says how it was built."""

    kind: Literal["hnsw", "exact"]
    file: BundlePath | None
    metric: Literal["ip"] = "ip"
    dimension: Positive
    count: Positive
    m: Annotated[int, Field(ge=2, le=1000)] | None = None
    ef_construction: Positive | None = None
    ef_search: Positive | None = None
    library: Name | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        graph = (self.file, self.m, self.ef_construction, self.ef_search, self.library)
        stated = [value is not None for value in graph]
        if stated != [self.kind == "hnsw"] * len(graph):
            raise ValueError("file, m, ef_construction, ef_search and library go with kind 'hnsw', and only with it")
        return self


class AtlasSection(Section):
    """The evidence: vectors, index, marker table and pictures of every mIF patch.

    Attributes:
        facts: Arrow table of the patients' clinical facts, where they are known.
        positivity: When a patch counts as positive for a marker, in one sentence; None where nothing says.
        measure: What was measured: proteins of mIF patches, or genes of spots; `markers` are then gene symbols.
    """

    vectors: BundlePath
    index: IndexSection
    patches: BundlePath
    pictures: BundlePath
    facts: BundlePath | None = None
    positivity: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    markers: Annotated[tuple[Name, ...], Field(min_length=1)]
    patch_count: Positive
    patient_count: Positive
    measure: Literal["protein", "gene"] = "protein"

    @model_validator(mode="after")
    def _names_each_marker_once(self) -> Self:
        if len(set(self.markers)) != len(self.markers):
            raise ValueError("a marker is named twice")
        return self


class ExpertSection(Section):
    """What one expert of a mixture stands for, for those who read its map: the atlas's spots in which it weighs most.

    Attributes:
        spots: How many they are.
        organs: Organs that they come from, the commonest first.
        genes: Genes that are highest in them against all spots, the highest first.
    """

    spots: Annotated[int, Field(ge=0)]
    organs: tuple[Name, ...] = ()
    genes: tuple[Name, ...] = ()


class SpadeSection(Section):
    """SPADE (2506.21857): a tile as a mixture of experts sees it, and an atlas of real spots.

    Its tower gives, side by side, the embedding (`dimension` numbers) and the weight of each expert.

    Attributes:
        tower: The fused graph: image encoder, routing, experts.
        dimension: Length of the embedding.
        keys: What the atlas's vectors are: the spots' own H&E through the image heads, or their counts through the
            gene heads.
        neighbours: Spots behind each tile.
        experts: The experts, in the order of their weights.
        atlas: The evidence; None for a bundle that only embeds.
        calibration: None where no held-out patients are known: predictions then have no intervals and never abstain.
    """

    tower: HETower
    dimension: Positive
    keys: Literal["image", "expression"] = "image"
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 5
    experts: Annotated[tuple[ExpertSection, ...], Field(min_length=1)]
    atlas: AtlasSection | None = None
    calibration: CalibrationSection | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.atlas is None:
            if self.calibration is not None:
                raise ValueError("calibration patients go with an atlas")
            return self
        if self.atlas.measure != "gene":
            raise ValueError("the atlas of spots measures genes")
        if self.atlas.index.dimension != self.dimension:
            raise ValueError("the index's dimension is not the embedding's")
        if self.atlas.index.count != self.atlas.patch_count:
            raise ValueError("the index does not hold as many vectors as the atlas has spots")
        return self


class HeadSection(Section):
    """A trained head: what a slide or a tile says about one clinical question, from the towers' vectors.

    Attributes:
        name: How outputs call it.
        kind: A class for each tile, a class for the slide, or a risk for the slide.
        file: Its ONNX graph.
        features: Vectors that it reads.
        target: The fact that it predicts, such as stage or overall survival.
        classes: Names of the classes, in the order of the graph's output; none for survival.
        cases: Arrow table of the out-of-fold predictions of its training patients, from which outputs are calibrated.
        patients: Training patients.
        metrics: What the nested cross-validation measured.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    kind: Literal["tile_classifier", "slide_classifier", "survival"]
    file: BundlePath
    features: Literal["he", "he+text"]
    target: Name
    classes: tuple[Name, ...] = ()
    cases: BundlePath
    patients: Positive
    metrics: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _classes_fit_the_kind(self) -> Self:
        if (self.kind == "survival") != (not self.classes) or len(self.classes) == 1:
            raise ValueError("a classifier names at least two classes, a survival head none")
        return self


class TrainingSection(Section):
    """Whom the towers learned from, as digests: who is among them may be evidence, but can't calibrate.

    Attributes:
        file: JSON of SHA-256 digests of the patients' names.
        patients: Patients learned from.
        held_out: Patients that judged the training, and so chose its weights.
        complete: False where the towers began as weights that do not say whom they have seen.
    """

    file: BundlePath
    patients: Annotated[int, Field(ge=0)]
    held_out: Annotated[int, Field(ge=0)]
    complete: bool


class GoldenSection(Section):
    """Inputs and the torch towers' outputs for the self-test."""

    file: BundlePath


class FileEntry(Section):
    """Digest and size of one file."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES, description="bytes")]
