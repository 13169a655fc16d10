"""This machine as engines see it: its processor, its GPU, and the libraries that compute on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import onnxruntime as ort

from ..version import product
from .fingerprint import GPU_ENGINES, Fingerprint, cpu_capability, cpu_name, cpu_threads, system_name
from .gpu.libraries import cuda_libraries, tf32_override
from .gpu.survey import GpuSurvey, find_gpus, serves
from .onnx import cuda_available, cuda_version
from .openvino import openvino_available

ENGINES_OF = {
    "tensorrt": ("tensorrt", "tensorrt_rtx"),
    "cuda": ("onnxruntime-cuda",),
    "cpu": ("openvino", "onnxruntime-cpu"),
}
"""Kind of device, best first → engines that run on it."""

RUN_TIME = f"ONNX Runtime {ort.__version__}"
_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx", "onnxruntime-cuda": "gpu"}


def kind_of(engine: str) -> str:
    """The kind of device that an engine runs on: tensorrt, cuda or cpu."""
    return next(kind for kind, engines in ENGINES_OF.items() if engine in engines)


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes here.

    Attributes:
        cpu: The processor's name.
        cpu_capability: Its instruction sets that matter.
        threads: Threads that this process may use.
        gpus: What was found out about NVIDIA GPUs.
        libraries: Engine → library and version, for the engines that can run here.
        why_not: Engine → reason, for those that can't.
    """

    cpu: str
    cpu_capability: str
    threads: int
    gpus: GpuSurvey
    libraries: dict[str, str]
    why_not: dict[str, str]

    def fingerprint(
        self, engine: str, tower: str, precision: str, profile: str = "", judged_by: str = ""
    ) -> Fingerprint:
        """The fingerprint of an engine built here and now; KeyError where the engine can't run here."""
        on_gpu = engine in GPU_ENGINES
        return Fingerprint(
            tower=tower,
            engine=engine,
            precision=precision,
            profile=profile,
            library=self.libraries[engine],
            device=self.gpus.gpus[0].name if on_gpu else self.cpu,
            capability=self.gpus.gpus[0].capability if on_gpu else self.cpu_capability,
            driver=self.gpus.driver if on_gpu else "",
            system=system_name(),
            product=product(),
            judged_by=judged_by,
        )

    def differences(self, there: Fingerprint, judged_by: str | None = None) -> tuple[str, ...]:
        """In words, why an engine of that fingerprint can't run here as it was judged; none where it can.

        Args:
            there: The engine's.
            judged_by: What it would be judged by now; None where that is not asked.
        """
        if there.engine not in self.libraries:
            return (self.why_not[there.engine],)
        judges = there.judged_by if judged_by is None else judged_by
        here = self.fingerprint(there.engine, there.tower, there.precision, there.profile, judges)
        return here.differences(there)

    def usable(self, kind: str) -> tuple[str, ...]:
        """The engines that can run here on a kind of device (tensorrt, cuda or cpu), best first."""
        return tuple(engine for engine in ENGINES_OF[kind] if engine in self.libraries)


@cache
def survey_machine() -> Machine:
    """Look at the processor, the GPU and the libraries, once a process; nothing heavy is imported."""
    gpus = find_gpus()
    libraries = {"onnxruntime-cpu": f"{RUN_TIME}, CPUExecutionProvider"}
    why_not: dict[str, str] = {}
    for engine, library in _gpu_libraries(gpus).items():
        reason = gpus.reason or _why_not_here(engine, library, gpus)
        (why_not if reason else libraries)[engine] = reason or library
    plugin = openvino_available()
    if plugin is None:
        why_not["openvino"] = "the OpenVINO plug-in is not installed (haiku-edge[openvino])"
    else:
        libraries["openvino"] = f"{RUN_TIME}, OpenVINO plug-in {plugin}"
    return Machine(cpu_name(), cpu_capability(), cpu_threads(), gpus, libraries, why_not)


def _gpu_libraries(gpus: GpuSurvey) -> dict[str, str]:
    """Engine → library and version, and what else changes its vectors; empty where it is not installed."""
    versions = {engine: gpus.tensorrt.get(engine, "") for engine in ENGINES_OF["tensorrt"]}
    found = {engine: f"{_TITLES[engine]} {version}" if version else "" for engine, version in versions.items()}
    found["onnxruntime-cuda"] = _cuda_provider(gpus) if cuda_available() else ""
    override = tf32_override()
    return {engine: ", ".join(filter(None, (library, library and override))) for engine, library in found.items()}


def _cuda_provider(gpus: GpuSurvey) -> str:
    """ONNX Runtime's CUDA provider, with the libraries under it where there is a GPU for them."""
    under = [cuda_libraries(cuda_version())] if gpus.usable else []
    return ", ".join([f"{RUN_TIME}, CUDAExecutionProvider", *under])


def _why_not_here(engine: str, library: str, gpus: GpuSurvey) -> str:
    """Why an engine can't run on the GPU that is there; empty where it can."""
    if not library:
        return f"{engine} is not installed (haiku-edge[{_EXTRAS[engine]}])"
    support = serves(engine, gpus.gpus[0].capability)
    return "" if support.tried else support.reason
