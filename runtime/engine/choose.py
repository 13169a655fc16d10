"""Which engine runs on this machine, and why.

`auto` takes the best that is there and says so. A device asked for by name runs, or is refused: it never falls back.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from ..errors import DeviceUnavailableError, UsageError
from .onnx import OnnxEngine
from .types import DeviceInfo, Engine

DEVICES = ("auto", "tensorrt", "cuda", "cpu")
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """Whether one kind of device can be used here.

    Attributes:
        kind: tensorrt, cuda or cpu, best first.
        usable: Whether an engine can be made for it.
        reason: Why, or why not.
    """

    kind: str
    usable: bool
    reason: str


def survey_devices() -> tuple[DeviceReport, ...]:
    """Look at every kind of device, best first."""
    why_not = _why_no_gpu()
    return (
        DeviceReport("tensorrt", usable=False, reason=why_not),
        DeviceReport("cuda", usable=False, reason=why_not),
        DeviceReport("cpu", usable=True, reason=f"ONNX Runtime {ort.__version__} on {_cpu_name()}"),
    )


def choose_engine(
    model: bytes, *, weights: Mapping[str, bytes] | None = None, device: str = "auto", threads: int | None = None
) -> Engine:
    """Make the engine for a tower.

    Args:
        model: Verified bytes of the tower's ONNX graph.
        weights: Verified bytes of the files that the graph keeps weights in, by the names that it gives them.
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with; None takes all cores that this process may use.

    Raises:
        UsageError: `device` is none of these.
        DeviceUnavailableError: The device asked for by name is not there.
        BundleContentError: The graph is not usable.
    """
    reports, chosen = _choose(device)
    reason = _why(reports, chosen) if device == "auto" else f"asked for with --device {device}"
    info = DeviceInfo(
        requested=device,
        kind=chosen.kind,
        provider=f"ONNX Runtime {ort.__version__}, CPUExecutionProvider",
        name=_cpu_name(),
        threads=threads or len(os.sched_getaffinity(0)),
        reason=reason,
    )
    return OnnxEngine(model, info, weights)


def check_device(device: str) -> None:
    """See that a device asked for is there, also where nothing will run on it.

    Raises:
        UsageError: It is none of `DEVICES`.
        DeviceUnavailableError: It is not there.
    """
    _choose(device)


def _choose(device: str) -> tuple[tuple[DeviceReport, ...], DeviceReport]:
    """Every kind of device, and the one to use."""
    if device not in DEVICES:
        raise UsageError(f"--device {device} is not one of {', '.join(DEVICES)}.")
    reports = survey_devices()
    return reports, next(r for r in reports if r.usable) if device == "auto" else _named(reports, device)


def _named(reports: tuple[DeviceReport, ...], device: str) -> DeviceReport:
    report = next(r for r in reports if r.kind == device)
    if not report.usable:
        raise DeviceUnavailableError(
            f"--device {device} can't be used: {report.reason}. Use --device auto to run on the best device that is "
            "there."
        )
    return report


def _why(reports: tuple[DeviceReport, ...], chosen: DeviceReport) -> str:
    passed_over = dict.fromkeys(report.reason for report in reports[: reports.index(chosen)])
    return "the best that is here: " + "; ".join(passed_over) if passed_over else chosen.reason


def _why_no_gpu() -> str:
    driver = "has" if _NVIDIA_DRIVER.exists() else "has no"
    return f"this release has no GPU engine (and this machine {driver} NVIDIA driver)"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
