"""The manifest, `bundle.json`: what a bundle says about itself, and the rules that it must keep.

The models are frozen and take no unknown key. Besides types they check meaning: every path stays inside the bundle and
can be told apart on every file system, and every part that is named is in the table of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ..errors import BundleContentError, BundleLinkError, BundleSchemaError

KNOWN_VERSIONS = ("1.1",)
"""Schema versions that this program reads."""

MAX_FILE_BYTES = 64 << 30
"""Largest file that a manifest may list: a guard against nonsense, an order above an atlas of 26 million patches."""

MAX_FILES = 10_000
"""Most files that a bundle may hold."""

MANIFEST_NAME = "bundle.json"
DIGEST_NAME = "bundle.sha256"
RESERVED_NAMES = frozenset({MANIFEST_NAME, DIGEST_NAME})
"""The two files that the table of files does not list."""

_PATH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
_ESCAPES = "path_leaves_bundle"


def _check_path(path: str) -> str:
    """Pass a relative POSIX path of plain ASCII names; `..`, absolute paths, backslashes and hidden names fail."""
    parts = path.replace("\\", "/").split("/")
    if ".." in parts or path.startswith(("/", "\\", "~")) or "\\" in path or ":" in path or "\x00" in path:
        raise PydanticCustomError(_ESCAPES, "the path could leave the bundle")
    if len(path) > 200 or not re.fullmatch(_PATH_PATTERN[1:-1], path):
        raise ValueError("a path is made of letters, digits, '.', '_' and '-', with '/' between folders")
    return path


BundlePath = Annotated[str, AfterValidator(_check_path), Field(json_schema_extra={"pattern": _PATH_PATTERN})]
Positive = Annotated[int, Field(gt=0)]
Microns = Annotated[float, Field(gt=0, le=100, description="micrometres per pixel")]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Storage = Literal["fp32", "fp16"]
"""How a graph's weights lie on disk; the arithmetic is fp32 either way."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Tower(_Section):
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


class Retrieval(_Section):
    """How the evidence is searched (Haiku, 2605.00925, zero-shot biomarker inference: 0.8 H&E + 0.2 text, top 5)."""

    text_weight: Annotated[float, Field(ge=0, le=1)] = 0.2
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 5


class IndexSection(_Section):
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


class AtlasSection(_Section):
    """The evidence: vectors, index, marker table and pictures of every mIF patch.

    Attributes:
        facts: Arrow table of the patients' clinical facts, where they are known.
        positivity: When a patch counts as positive for a marker, in one sentence; None where nothing says.
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

    @model_validator(mode="after")
    def _names_each_marker_once(self) -> Self:
        if len(set(self.markers)) != len(self.markers):
            raise ValueError("a marker is named twice")
        return self


class CalibrationSection(_Section):
    """The cases from which intervals are made, and the coverage that they state."""

    file: BundlePath
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    patients: Positive
    cases: Positive


class HeadSection(_Section):
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


class GoldenSection(_Section):
    """Inputs and the torch towers' outputs for the self-test."""

    file: BundlePath


class FileEntry(_Section):
    """Digest and size of one file."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES, description="bytes")]


class Description(_Section):
    """All that a manifest says but the table of files; what an exporter hands to `write_bundle`.

    Attributes:
        family: The model family whose procedure the bundle follows.
        synthetic: True where the towers were trained on simulated tissue.
        statement: One sentence on what the numbers are worth, shown wherever they are.
        created_by: Product and version that wrote the bundle.
        embedding_dimension: Length of the towers' output vectors.
        text: None for a model without a text tower (H&E and mIF only).
        atlas: None for a bundle that only embeds, until `atlas add` gives it evidence.
        calibration: None where no held-out patients are known: predictions then have no intervals and never abstain.
        metrics: The evaluation's numbers, in whatever nesting the exporter likes.
    """

    schema_version: Literal["1.1"] = "1.1"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,49}$")]
    family: Literal["haiku"] = "haiku"
    synthetic: bool
    statement: Annotated[str, Field(min_length=1, max_length=1000)]
    created_by: Name
    embedding_dimension: Positive
    he: HETower
    text: TextTower | None = None
    mif: MifTower | None = None
    retrieval: Retrieval = Retrieval()
    atlas: AtlasSection | None = None
    calibration: CalibrationSection | None = None
    golden: GoldenSection
    heads: tuple[HeadSection, ...] = ()
    metrics: dict[str, JsonValue] = Field(default_factory=dict)

    def named_files(self) -> Iterator[str]:
        """Every path that a part of the manifest names."""
        for tower in (self.he, self.text, self.mif):
            if tower is not None:
                yield tower.file
                yield from tower.weights
        if self.text is not None:
            yield self.text.tokenizer
        if self.atlas is not None:
            yield from (self.atlas.vectors, self.atlas.patches, self.atlas.pictures)
            yield from (file for file in (self.atlas.index.file, self.atlas.facts) if file is not None)
        if self.calibration is not None:
            yield self.calibration.file
        for head in self.heads:
            yield from (head.file, head.cases)
        yield self.golden.file

    def need_text(self) -> TextTower:
        """The text tower, or `BundleContentError`."""
        if self.text is None:
            raise self._lacks("text tower", "It takes no notes; leave --clinical and --text out")
        return self.text

    def need_mif(self) -> MifTower:
        """The mIF tower, or `BundleContentError`."""
        if self.mif is None:
            raise self._lacks("mIF tower", "Export the bundle again from a checkpoint that has one")
        return self.mif

    def need_atlas(self) -> AtlasSection:
        """The atlas, or `BundleContentError`."""
        if self.atlas is None:
            raise self._lacks("atlas, so there is no evidence to search", "Give it one with `haiku-edge atlas add`")
        return self.atlas

    def need_calibration(self) -> CalibrationSection:
        """The calibration patients, or `BundleContentError`."""
        if self.calibration is None:
            raise self._lacks("calibration patients", "Give it some with `haiku-edge atlas add`")
        return self.calibration

    def _lacks(self, what: str, instead: str) -> BundleContentError:
        return BundleContentError(f"The bundle {self.name} has no {what}. {instead}.")

    @model_validator(mode="after")
    def _index_fits(self) -> Self:
        if self.atlas is None:
            return self
        if self.atlas.index.dimension != self.embedding_dimension:
            raise ValueError("the index's dimension is not the embedding's")
        if self.atlas.index.count != self.atlas.patch_count:
            raise ValueError("the index does not hold as many vectors as the atlas has patches")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.calibration is not None and self.atlas is None:
            raise ValueError("calibration patients go with an atlas")
        if len({head.name for head in self.heads}) != len(self.heads):
            raise ValueError("two heads have the same name")
        if self.text is None and any(head.features == "he+text" for head in self.heads):
            raise ValueError("a head reads the text tower, which is not there")
        return self


class Manifest(Description):
    """A bundle's manifest.

    Attributes:
        files: Relative POSIX path → digest and size, for every file but `bundle.json` and `bundle.sha256`.
    """

    files: Annotated[dict[BundlePath, FileEntry], Field(min_length=1, max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _paths_can_be_told_apart(self) -> Self:
        folded = [path.casefold() for path in self.files]
        if len(set(folded)) != len(folded):
            raise ValueError("two files differ only in upper and lower case")
        folders = {"/".join(path.split("/")[:depth]) for path in folded for depth in range(1, path.count("/") + 1)}
        if folders & set(folded):
            raise ValueError("a file has the name of a folder")
        if RESERVED_NAMES & set(folded):
            raise ValueError(f"{MANIFEST_NAME} and {DIGEST_NAME} are not listed")
        return self

    @model_validator(mode="after")
    def _named_files_are_listed(self) -> Self:
        unlisted = sorted(set(self.named_files()) - set(self.files))
        if unlisted:
            raise ValueError(f"files does not list {', '.join(unlisted)}")
        return self


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read the bytes of a `bundle.json`.

    Args:
        data: The file's bytes.
        where: The bundle, as messages name it.

    Raises:
        BundleSchemaError: Not JSON, of an unknown schema version, or against the schema.
        BundleLinkError: A path would leave the bundle.
    """
    _check_version(_strict_json(data, where), where)
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        said = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'manifest'}: {detail['msg']}" for detail in details[:3]
        )
        if any(detail["type"] == _ESCAPES for detail in details):
            raise BundleLinkError(
                f"{MANIFEST_NAME} of {where} names a path outside the bundle ({said}). Don't use this bundle; get it "
                "again from where it came from."
            ) from None
        raise BundleSchemaError(
            f"{MANIFEST_NAME} of {where} does not keep the schema ({said}). Export the bundle again, or get it again "
            "from where it came from."
        ) from None


def manifest_schema() -> str:
    """The published JSON Schema of the manifest, as the text of `docs/schema/bundle.schema.json`."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema.update(Manifest.model_json_schema())
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _strict_json(data: bytes, where: str) -> Mapping[str, Any]:
    """Parse JSON, refusing a key given twice (readers differ on which one counts) and numbers that JSON has not."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key is given twice")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BundleSchemaError(f"{MANIFEST_NAME} of {where} is not JSON ({error}). Export the bundle again.") from None
    if not isinstance(document, dict):
        raise BundleSchemaError(f"{MANIFEST_NAME} of {where} is not a JSON object. Export the bundle again.")
    return document


def _check_version(document: Mapping[str, Any], where: str) -> None:
    version = document.get("schema_version")
    if version not in KNOWN_VERSIONS:
        known = ", ".join(KNOWN_VERSIONS)
        stated = repr(version)[:50] if version is not None else "none"
        raise BundleSchemaError(
            f"The bundle {where} has schema version {stated}; this program reads {known}. Use the release of "
            "haiku-edge that goes with the bundle, or export the bundle again with this one."
        )
