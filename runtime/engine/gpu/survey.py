"""Which NVIDIA GPU, driver and TensorRT this machine has. It only looks: nothing here raises."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ...errors import DeviceError
from .cuda import bindings, describe

KINDS: Final = {
    "tensorrt_rtx": ("tensorrt_rtx_bindings", "tensorrt_rtx"),
    "tensorrt": ("tensorrt_bindings", "tensorrt"),
}
"""TensorRT's kinds → the modules that hold them, the one that NVIDIA's wheels install first."""

_LIBRARIES: Final = {"tensorrt_rtx": ("tensorrt_rtx_libs", "tensorrt_rtx"), "tensorrt": ("tensorrt_libs", "nvinfer")}
"""Kind → the package with its shared libraries, and the name of the one that a system's own package installs."""

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_DRIVER_LIBRARY = "libcuda.so.1"
_LEAST_DRIVER: Final = {12: "525.60", 13: "580"}
"""CUDA's major version → the oldest Linux driver that runs it (NVIDIA, CUDA release notes)."""

_VERSION_LENGTH = 4000
_INSTALL = 'pip install "haiku-edge[rtx]"'

_RTX_DOCUMENTED: Final = frozenset({(7, 5), (8, 6), (8, 9)})
_RTX_DOCUMENTED_FROM = (12, 0)
_LEAST_CAPABILITY: Final = {"tensorrt_rtx": (7, 5), "tensorrt": (7, 5), "onnxruntime-cuda": (7, 5)}
"""CUDA 13 itself compiles for nothing older than 7.5."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: What it calls itself.
        capability: Compute capability, such as "8.9".
        memory: All of its memory, in bytes.
    """

    name: str
    capability: str
    memory: int


@dataclass(frozen=True, slots=True)
class GpuSurvey:
    """What this machine has for running on an NVIDIA GPU.

    Attributes:
        driver: Version of the driver, empty where there is none or it does not say.
        bindings: Version of cuda-bindings, empty where it is not installed.
        gpus: The GPUs that this process may use, in CUDA's order; engines run on the first.
        tensorrt: Kind of TensorRT → version, for those that are installed.
        reason: Why no GPU can be used; empty where one can.
    """

    driver: str = ""
    bindings: str = ""
    gpus: tuple[Gpu, ...] = ()
    tensorrt: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether a GPU can be used."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a kind of engine serves a GPU.

    Attributes:
        tried: Whether it is worth trying.
        documented: Whether its maker says that it does.
        reason: Why, in words.
    """

    tried: bool
    documented: bool
    reason: str


def find_gpus() -> GpuSurvey:
    """Look for the driver, the bindings, the GPUs and TensorRT. Whatever is missing is the survey's `reason`."""
    stated = _read(_DRIVER_FILE)
    driver, version, installed = read_driver_version(stated), _version_of("cuda-bindings"), find_tensorrt()
    reason = why_no_driver(bool(stated), _library_loads(), driver) or why_bindings_do_not_fit(version, driver)
    gpus: tuple[Gpu, ...] = ()
    if not reason:
        gpus, reason = _ask_cuda(driver, version)
    return GpuSurvey(driver, version, gpus, installed, reason)


def read_driver_version(text: str) -> str:
    """Find the version in what the driver writes to /proc/driver/nvidia/version; empty where it holds none."""
    found = re.search(r"Kernel Module\s+(?:for\s+\S+\s+)?(\d+(?:\.\d+)+)", text[:_VERSION_LENGTH])
    return found[1] if found else ""


def why_no_driver(module: bool, library: bool, driver: str) -> str:
    """Why the driver can't be used; empty where it can.

    Args:
        module: Whether the kernel's half is there.
        library: Whether the other half, libcuda.so.1, loads.
        driver: Its version, if it says.
    """
    if library:
        return ""
    if not module:
        return "no NVIDIA driver"
    return (
        f"the NVIDIA driver {driver} is there, but its library {_DRIVER_LIBRARY} does not load: in a container, start "
        "it with access to the GPU"
    )


def why_bindings_do_not_fit(version: str, driver: str) -> str:
    """Why cuda-bindings can't be used with this driver; empty where it can.

    Args:
        version: Version of cuda-bindings, empty where it is not installed.
        driver: Version of the driver, empty where it is unknown.
    """
    if not version:
        return f"cuda-bindings is not installed: {_INSTALL}"
    needed = _LEAST_DRIVER.get(_numbers(version)[0], "")
    if driver and needed and _numbers(driver) < _numbers(needed):
        return _too_old(driver, version)
    return ""


def find_tensorrt() -> dict[str, str]:
    """Kind of TensorRT → version, for those that are installed with their libraries. Nothing is imported."""
    found = {kind: next(filter(None, map(_module_version, modules)), "") for kind, modules in KINDS.items()}
    return {kind: version for kind, version in found.items() if version and _has_libraries(*_LIBRARIES[kind])}


def serves(kind: str, capability: str) -> Support:
    """Whether a kind of engine serves a GPU.

    Args:
        kind: tensorrt_rtx, tensorrt or onnxruntime-cuda.
        capability: The GPU's compute capability, such as "8.9".
    """
    numbers, least = _numbers(capability), _LEAST_CAPABILITY[kind]
    if numbers < least:
        oldest = ".".join(map(str, least))
        return Support(False, False, f"{kind} needs compute capability {oldest} or later, this GPU has {capability}")
    if kind == "tensorrt_rtx" and numbers not in _RTX_DOCUMENTED and numbers < _RTX_DOCUMENTED_FROM:
        return Support(True, False, f"whether {kind} serves compute capability {capability} is not known, tried")
    return Support(True, True, f"{kind} serves compute capability {capability}")


def _ask_cuda(driver: str, version: str) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs, or why there are none."""
    try:
        cudart = bindings()
        status, count = cudart.cudaGetDeviceCount()
        if status.name == "cudaErrorInsufficientDriver":
            return (), _too_old(driver or "that is installed", version)
        if status.name == "cudaErrorNoDevice" or (status.name == "cudaSuccess" and not count):
            return (), "the driver finds no GPU (or CUDA_VISIBLE_DEVICES hides it)"
        if status.name != "cudaSuccess":
            return (), f"the driver does not answer: {describe(status)} ({status.name})"
        return tuple(_gpu(cudart, index) for index in range(count)), ""
    except (DeviceError, OSError, RuntimeError, AttributeError, ValueError) as error:
        return (), f"the driver does not answer: {error}"


def _gpu(cudart: Any, index: int) -> Gpu:
    status, properties = cudart.cudaGetDeviceProperties(index)
    if status.name != "cudaSuccess":
        raise RuntimeError(f"{describe(status)} ({status.name})")
    name = properties.name.split(b"\0")[0].decode(errors="replace").strip()
    return Gpu(name, f"{properties.major}.{properties.minor}", int(properties.totalGlobalMem))


def _too_old(driver: str, version: str) -> str:
    major = _numbers(version)[0]
    needed = _LEAST_DRIVER.get(major, "a newer one")
    return f"the driver {driver} is older than CUDA {major} needs ({needed})"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version))) or (0,)


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _module_version(module: str) -> str:
    """The version that a package states in its first file, "unknown" where it states none; empty where it is not."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    if spec is None or spec.origin is None:
        return ""
    found = re.search(r'^__version__\s*=\s*["\']([^"\']+)', _read(Path(spec.origin)), re.MULTILINE)
    return found[1] if found else "unknown"


def _has_libraries(package: str, library: str) -> bool:
    return importlib.util.find_spec(package) is not None or ctypes.util.find_library(library) is not None


def _library_loads() -> bool:
    try:
        ctypes.CDLL(_DRIVER_LIBRARY)
    except OSError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
