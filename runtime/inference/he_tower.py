"""Which tower embeds a slide: the bundle's own, or a student where only a processor would run it."""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle import Agreement, Bundle, CalibrationSection, HETower, StudentSection
from ..engine import Engine, check_device, open_tower, survey_devices
from ..errors import BundleContentError

TEACHER = "teacher"
"""How outputs call the bundle's own H&E tower."""


@dataclass(frozen=True, slots=True)
class OpenTower:
    """The H&E tower that runs.

    Attributes:
        engine: The tower on the chosen device.
        section: What the manifest says of it.
        calibration: The calibration cases that it embedded; None where there are none.
    """

    engine: Engine
    section: HETower
    calibration: CalibrationSection | None

    @property
    def student(self) -> StudentSection | None:
        """What the manifest says of the student; None where the bundle's own tower runs."""
        return self.section if isinstance(self.section, StudentSection) else None

    @property
    def name(self) -> str:
        """As outputs call it."""
        return TEACHER if self.student is None else self.student.name

    def in_words(self) -> str:
        """Which tower runs, and how far it agrees with the bundle's own; empty for that one."""
        if self.student is None:
            return ""
        return f"a small tower ({self.student.kind}) in place of the bundle's own: {in_words(self.student.agreement)}"


def open_he_tower(bundle: Bundle, *, tower: str, device: str, threads: int, strict: bool) -> OpenTower:
    """Open the H&E tower that is asked for; `auto` takes the bundle's student where only a processor would run.

    Args:
        bundle: The open bundle.
        tower: auto, teacher or student.
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with.
        strict: Take the bundle's own tower, and only engines that equal fp32.

    Raises:
        BundleContentError: There is no student to take.
        DeviceError, UsageError, BundleError: See `open_tower`.
    """

    def opened(section: HETower) -> OpenTower:
        engine = open_tower(bundle, section, device=device, threads=threads, strict=strict)
        holder = section if isinstance(section, StudentSection) else bundle.manifest
        return OpenTower(engine, section, holder.calibration)

    students = bundle.manifest.students
    if tower == "student" and not students:
        raise BundleContentError(
            f"The bundle {bundle.manifest.name} has no student. Make one with `haiku-edge export distill`, or leave "
            "--tower out."
        )
    if tower == "student":
        return opened(students[0])
    if tower == TEACHER or strict or not students:
        return opened(bundle.manifest.need_he())
    check_device(device)
    if device == "cpu" or (device == "auto" and not _has_gpu()):
        return opened(students[0])
    teacher = opened(bundle.manifest.need_he())
    return opened(students[0]) if teacher.engine.device.kind == "cpu" else teacher


def in_words(agreement: Agreement) -> str:
    """What was measured, in one phrase."""
    parts = [f"mean cosine {agreement.cosine_mean:.3f} (least {agreement.cosine_least:.2f})"]
    if agreement.neighbour_overlap is not None:
        parts.append(f"{100 * agreement.neighbour_overlap:.0f} % of the 5 nearest patches the same")
    if agreement.biomarker_pearson is not None:
        parts.append(f"biomarkers correlate at {agreement.biomarker_pearson:.2f}")
    return f"{', '.join(parts)}, over {agreement.tiles} tiles of {agreement.patients} other patients"


def _has_gpu() -> bool:
    return any(report.usable for report in survey_devices() if report.kind != "cpu")
