"""Which kinds of device are here, best first, and why not the others.

`auto` takes the best that is there and says so. A device asked for by name runs, or is refused: it never falls back.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DeviceUnavailableError, UsageError
from .machine import ENGINES_OF, Machine, survey_machine

DEVICES = ("auto", *ENGINES_OF)


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


def survey_devices(machine: Machine | None = None) -> tuple[DeviceReport, ...]:
    """Look at every kind of device, best first."""
    machine = machine or survey_machine()
    return tuple(_report(machine, kind) for kind in ENGINES_OF)


def check_device(device: str) -> None:
    """See that a device asked for is there, also where nothing will run on it.

    Raises:
        UsageError: It is none of `DEVICES`.
        DeviceUnavailableError: It is not there.
    """
    kinds_to_try(device, survey_machine())


def kinds_to_try(device: str, machine: Machine) -> tuple[DeviceReport, ...]:
    """The kinds of device that a wish allows, best first: all of them for `auto`, else the one that it names.

    Raises:
        UsageError: It is none of `DEVICES`.
        DeviceUnavailableError: The one that it names is not there.
    """
    if device not in DEVICES:
        raise UsageError(f"--device {device} is not one of {', '.join(DEVICES)}.")
    reports = survey_devices(machine)
    if device == "auto":
        return reports
    (report,) = (each for each in reports if each.kind == device)
    if not report.usable:
        raise DeviceUnavailableError(
            f"--device {device} can't be used: {report.reason}. Use --device auto to run on the best device that is "
            "there."
        )
    return (report,)


def _report(machine: Machine, kind: str) -> DeviceReport:
    usable = machine.usable(kind)
    if kind == "cpu":
        others = "".join(f", {machine.libraries[engine]}" for engine in usable if engine != "onnxruntime-cpu")
        return DeviceReport(kind, True, f"{machine.libraries['onnxruntime-cpu']}{others} on {machine.cpu}")
    if usable:
        gpu = machine.gpus.gpus[0]
        return DeviceReport(kind, True, f"{machine.libraries[usable[0]]} on {gpu.name}, driver {machine.gpus.driver}")
    return DeviceReport(kind, False, "; ".join(dict.fromkeys(machine.why_not[engine] for engine in ENGINES_OF[kind])))
