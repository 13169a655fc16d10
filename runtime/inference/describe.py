"""Bundle, device and slide as a result states them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..report.schema import BundleSection, DeviceSection, SlideSection, StainSection

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..slide import SlideInfo
    from .model import Model
    from .survey import Survey


def describe_bundle(bundle: Bundle) -> BundleSection:
    """The bundle that ran."""
    manifest, atlas = bundle.manifest, bundle.manifest.need_atlas()
    return BundleSection(
        name=manifest.name,
        version=manifest.version,
        digest=bundle.digest,
        synthetic=manifest.synthetic,
        statement=manifest.statement,
        patches=atlas.patch_count,
        patients=atlas.patient_count,
    )


def describe_device(model: Model) -> DeviceSection:
    """What computed the vectors."""
    device = asdict(model.engine.device)
    student = model.tower.student
    agreement = None if student is None else student.agreement.model_dump()
    return DeviceSection(used=device.pop("kind"), tower=model.tower.name, agreement=agreement, **device)


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
