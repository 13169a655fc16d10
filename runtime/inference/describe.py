"""Bundle, device and slide as a result states them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..engine.model import SPADE
from ..report.schema import BundleSection, SlideSection, StainSection
from ..report.schema_parts import DeviceSection

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..engine import Engine
    from ..slide import SlideInfo
    from .he_tower import OpenTower
    from .model import Model
    from .survey import Survey


def describe_bundle(bundle: Bundle) -> BundleSection:
    """The bundle that ran."""
    manifest, atlas = bundle.manifest, bundle.manifest.atlas
    return BundleSection(
        name=manifest.name,
        version=manifest.version,
        digest=bundle.digest,
        synthetic=manifest.synthetic,
        statement=manifest.statement,
        patches=0 if atlas is None else atlas.patch_count,
        patients=0 if atlas is None else atlas.patient_count,
    )


def describe_device(engine: Engine, tower: OpenTower | None = None) -> DeviceSection:
    """What computed the vectors.

    Args:
        engine: The tower on its device.
        tower: Haiku's H&E tower, which may be a student; None for another.
    """
    device = asdict(engine.device)
    student = None if tower is None else tower.student
    agreement = None if student is None else student.agreement.model_dump()
    name = SPADE if tower is None else tower.name
    return DeviceSection(used=device.pop("kind"), tower=name, agreement=agreement, **device)


def student_warnings(model: Model) -> list[str]:
    """What a reader must know where a student ran."""
    if model.tower.student is None:
        return []
    return [f"The vectors are those of {model.tower.in_words()}. --tower teacher asks the bundle's own."]


def describe_slide(info: SlideInfo, digest: str, survey: Survey) -> SlideSection:
    """The slide as it was read."""
    finest = info.levels[0]
    return SlideSection(
        name=info.name,
        format=info.format,
        reader=info.reader,
        sha256=digest,
        width=finest.width,
        height=finest.height,
        levels=len(info.levels),
        mpp_x=info.resolution.x,
        mpp_y=info.resolution.y,
        mpp_source=info.resolution.source,
        stain=StainSection(looks_like=survey.stain.looks_like, reason=survey.stain.reason),
        warnings=list(info.warnings),
    )
