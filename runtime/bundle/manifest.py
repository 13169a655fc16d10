"""The manifest, `bundle.json`: what a bundle says about itself, and the rules that it must keep.

The models are frozen and take no unknown key. Besides types they check meaning: every path stays inside the bundle and
can be told apart on every file system, and every part that is named is in the table of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from ..errors import BundleContentError, BundleLinkError, BundleSchemaError
from .sections import (
    ESCAPES,
    AtlasSection,
    BundlePath,
    CalibrationSection,
    FileEntry,
    GoldenSection,
    HeadSection,
    HETower,
    MifTower,
    Name,
    Positive,
    Retrieval,
    Section,
    SpadeSection,
    StudentSection,
    TextTower,
    TrainingSection,
)

SCHEMA_VERSION: Final = "1.3"
"""Schema version that this program writes."""

KNOWN_VERSIONS = ("1.1", "1.2", SCHEMA_VERSION)
"""Schema versions that this program reads. A bundle of 1.1 has no `training` and no `students`, one of 1.2 no
`spade`."""


MAX_FILES = 10_000
"""Most files that a bundle may hold."""

MANIFEST_NAME = "bundle.json"
DIGEST_NAME = "bundle.sha256"
RESERVED_NAMES = frozenset({MANIFEST_NAME, DIGEST_NAME})
"""The two files that the table of files does not list."""


class Description(Section):
    """All that a manifest says but the table of files; what an exporter hands to `write_bundle`.

    Attributes:
        family: The model families whose procedures the bundle follows.
        synthetic: True where the towers were trained on simulated tissue.
        statement: One sentence on what the numbers are worth, shown wherever they are.
        created_by: Product and version that wrote the bundle.
        embedding_dimension: Length of Haiku's vectors; of SPADE's where the bundle holds that alone.
        he: Haiku's H&E tower; None for a bundle that holds SPADE alone.
        text: None for a model without a text tower (H&E and mIF only).
        atlas: None for a bundle that only embeds, until `atlas add` gives it evidence.
        calibration: None where no held-out patients are known: predictions then have no intervals and never abstain.
        training: None where nobody says whom the towers learned from, as of a published checkpoint.
        students: Small H&E towers that may stand for `he` on a processor, the one to take first.
        spade: The second family; None for a bundle that holds Haiku alone.
        metrics: The evaluation's numbers, in whatever nesting the exporter likes.
    """

    schema_version: Literal["1.1", "1.2", "1.3"] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,49}$")]
    family: Literal["haiku", "spade", "haiku+spade"] = "haiku"
    synthetic: bool
    statement: Annotated[str, Field(min_length=1, max_length=1000)]
    created_by: Name
    embedding_dimension: Positive
    he: HETower | None = None
    text: TextTower | None = None
    mif: MifTower | None = None
    retrieval: Retrieval = Retrieval()
    atlas: AtlasSection | None = None
    calibration: CalibrationSection | None = None
    training: TrainingSection | None = None
    golden: GoldenSection
    heads: tuple[HeadSection, ...] = ()
    students: tuple[StudentSection, ...] = ()
    spade: SpadeSection | None = None
    metrics: dict[str, JsonValue] = Field(default_factory=dict)

    def named_files(self) -> Iterator[str]:
        """Every path that a part of the manifest names."""
        spade = self.spade
        for tower in (self.he, self.text, self.mif, *self.students, None if spade is None else spade.tower):
            if tower is not None:
                yield tower.file
                yield from tower.weights
        if self.text is not None:
            yield self.text.tokenizer
        for atlas in (self.atlas, None if spade is None else spade.atlas):
            if atlas is not None:
                yield from (atlas.vectors, atlas.patches, atlas.pictures)
                yield from (file for file in (atlas.index.file, atlas.facts) if file is not None)
        for cases in (
            self.calibration,
            None if spade is None else spade.calibration,
            *(student.calibration for student in self.students),
        ):
            if cases is not None:
                yield cases.file
        if self.training is not None:
            yield self.training.file
        for head in self.heads:
            yield from (head.file, head.cases)
        yield self.golden.file

    def need_he(self) -> HETower:
        """Haiku's H&E tower, or `BundleContentError`."""
        if self.he is None:
            raise self._lacks("H&E tower of Haiku", "It holds SPADE alone; name a bundle of Haiku")
        return self.he

    def need_spade(self) -> SpadeSection:
        """The second family, or `BundleContentError`."""
        if self.spade is None:
            raise self._lacks("mixture of experts", "It holds Haiku alone; name a bundle of SPADE")
        return self.spade

    def need_text(self) -> TextTower:
        """The text tower, or `BundleContentError`."""
        if self.text is None:
            raise self._lacks("text tower", "It takes no notes; leave --clinical, --text and --text-weight out")
        return self.text

    def need_mif(self) -> MifTower:
        """The mIF tower, or `BundleContentError`."""
        if self.mif is None:
            raise self._lacks("mIF tower", "Export the bundle again from a checkpoint that has one")
        return self.mif

    def need_atlas(self) -> AtlasSection:
        """The atlas, or `BundleContentError`."""
        if self.atlas is None:
            self.need_he()
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
        if self.training is not None and self.schema_version == "1.1":
            raise ValueError("training came with schema version 1.2")
        if self.students and self.schema_version == "1.1":
            raise ValueError("students came with schema version 1.2")
        if self.atlas is not None and self.atlas.measure != "protein":
            raise ValueError("Haiku's atlas measures proteins")
        if len({head.name for head in self.heads}) != len(self.heads):
            raise ValueError("two heads have the same name")
        if self.text is None and any(head.features == "he+text" for head in self.heads):
            raise ValueError("a head reads the text tower, which is not there")
        return self

    @model_validator(mode="after")
    def _families_fit(self) -> Self:
        if self.schema_version in ("1.1", "1.2") and (self.spade is not None or self.he is None):
            raise ValueError("the second family came with schema version 1.3")
        held = [name for name, part in (("haiku", self.he), ("spade", self.spade)) if part is not None]
        if "+".join(held) != self.family:
            raise ValueError(f"family is {self.family}, but the bundle holds {' and '.join(held) or 'no tower'}")
        parts = (self.text, self.mif, self.atlas, self.calibration, *self.heads, *self.students)
        if self.he is None and any(part is not None for part in parts):
            raise ValueError("a part of Haiku has no H&E tower to go with")
        if self.he is None and self.spade is not None and self.spade.dimension != self.embedding_dimension:
            raise ValueError("embedding_dimension is not that of the experts")
        return self

    @model_validator(mode="after")
    def _students_fit(self) -> Self:
        if self.he is None:
            return self
        if len({student.kind for student in self.students}) != len(self.students):
            raise ValueError("two students are of the same kind")
        if any((one.tile_size, one.mpp) != (self.he.tile_size, self.he.mpp) for one in self.students):
            raise ValueError("a student reads other tiles than the H&E tower")
        if self.calibration is None and any(one.calibration is not None for one in self.students):
            raise ValueError("a student is calibrated, but the H&E tower is not")
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
        if any(detail["type"] == ESCAPES for detail in details):
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
