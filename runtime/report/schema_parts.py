"""What every document of a run is made of: the base of its sections, and those that the families of models share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

TileStatus = Literal["predicted", "abstained", "blur", "unreadable"]
BiomarkerStatus = Literal["predicted", "abstained", "unmeasured"]


class Section(BaseModel):
    """Any section: frozen, and without keys of its own making."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceSection(Section):
    """What really computed the embeddings."""

    requested: str
    used: str = Field(description="tensorrt, cuda or cpu.")
    provider: str = Field(description="Run time and version, such as 'ONNX Runtime 1.31.1, CPUExecutionProvider'.")
    precision: str = Field(description="What it computed in: fp32, fp16, bf16, or int8 with its recipe.")
    name: str = Field(description="The processor's own name.")
    threads: int
    reason: str = Field(description="Why this device was chosen.")
    tower: str = Field(
        "teacher",
        description="teacher, the bundle's own H&E tower; or student-vit-s or student-mobile, a small tower that "
        "learned from it.",
    )
    agreement: dict[str, float | int | None] | None = Field(
        None, description="How far a student agrees with the bundle's own tower, as the bundle states it, or null."
    )


class Estimate(Section):
    """One value with its interval; all null where nothing can be said."""

    value: float | None
    low: float | None
    high: float | None


class CalibrationSection(Section):
    """Where the intervals come from."""

    method: str
    coverage: float
    patients: int
    cases: int
    similarity_threshold: float | None = Field(description="Below this best H&E similarity a tile abstains.")
    abstention_rate: float = Field(description="Share of in-distribution tiles that the threshold turns away.")
