"""`retrieval.json`: what a run of `retrieve` found, as a versioned schema."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..notice import RESEARCH_USE_ONLY
from .schema import BundleSection, NeighbourMarker

RETRIEVAL_VERSION: Final = "1.0"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuerySection(_Section):
    """What was looked for; neither a file's name nor the words of a note."""

    modality: Literal["he", "mif", "text"]
    of: str
    markers: list[str] = Field(description="Channels of an mIF patch, as the bundle names them.")
    warnings: list[str]


class FoundItem(_Section):
    """One item of the gallery."""

    rank: int
    item: str = Field(description="The patch of the atlas, or the tile or notes of a calibration patient.")
    patient: str = Field(description="Pseudonym.")
    section: str | None
    organ: str | None
    similarity: float = Field(description="Cosine to the query.")
    markers: list[NeighbourMarker] = Field(description="What it measured, the farthest from average first.")


class RetrievalResult(_Section):
    """Everything that one retrieval found."""

    schema_version: Literal["1.0"] = RETRIEVAL_VERSION
    notice: Literal["For research use only. Not for use in diagnostic procedures."] = RESEARCH_USE_ONLY
    product: str
    bundle: BundleSection
    device: str
    query: QuerySection
    to: Literal["he", "mif", "text"]
    gallery: str = Field(description="What was searched, in words.")
    exclude_patients: list[str]
    found: list[FoundItem]
    timing: dict[str, float] = Field(description="Seconds by stage.")
