"""What an engine was built from and for: it runs on no other machine, and stands for no other tower."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

CPU_ENGINES: Final = ("onnxruntime-cpu", "openvino")
GPU_ENGINES: Final = ("tensorrt", "tensorrt_rtx", "onnxruntime-cuda")

_INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
)
"""Instruction sets that change which kernels a library takes."""

_DIGESTS = ("tower", "judged_by")
"""Fields whose values tell a reader nothing."""

_WORDS = {
    "tower": "another tower",
    "engine": "another engine",
    "precision": "another precision",
    "profile": "other shapes",
    "library": "another version",
    "device": "another device",
    "capability": "another compute capability",
    "driver": "another driver",
    "system": "another operating system",
    "product": "another release of haiku-edge",
    "judged_by": "other golden cases or another atlas",
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What decides an engine's bytes and whether it may run here.

    Attributes:
        tower: SHA-256 (hex) of the tower's graph and weights.
        engine: tensorrt, tensorrt_rtx, onnxruntime-cuda, openvino or onnxruntime-cpu.
        precision: fp32, fp16, bf16, int8 or fp8, with the recipe where there are several.
        profile: Shapes that it is built for; empty where it takes any.
        library: Name and version of the library that built it.
        device: Name of the GPU or processor.
        capability: Compute capability of the GPU, or the instruction sets of the processor.
        driver: Version of the GPU's driver; empty on a processor.
        system: Operating system and machine.
        product: The haiku-edge that derived its graph.
        judged_by: SHA-256 (hex) of the cases, and for integers the atlas, by which its gate judged it.
    """

    tower: str
    engine: str
    precision: str
    profile: str
    library: str
    device: str
    capability: str
    driver: str
    system: str
    product: str
    judged_by: str

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Fingerprint:
        """Rebuild what `asdict` and JSON made of one; ValueError where it is none."""
        if values.keys() != cls.__annotations__.keys() or not all(isinstance(v, str) for v in values.values()):
            raise ValueError("not a fingerprint")
        return cls(**values)

    def key(self) -> str:
        """Name under which a cache keeps the engine: 32 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]

    def differences(self, other: Fingerprint) -> tuple[str, ...]:
        """In words, where `other` differs from this one: 'another driver (580.65 there, 590.10 here)'."""
        mine, theirs = asdict(self), asdict(other)
        return tuple(
            words if name in _DIGESTS else f"{words} ({theirs[name] or 'none'} there, {mine[name] or 'none'} here)"
            for name, words in _WORDS.items()
            if mine[name] != theirs[name]
        )


def is_quantised(precision: str) -> bool:
    """Whether an engine computes in 8 bits: judged by what it changes in the atlas, and never used for what is kept."""
    return precision.startswith(("int", "fp8"))


@cache
def cpu_name() -> str:
    """The processor's own name."""
    return next(iter(_cpu_lines("model name")), "") or platform.processor() or platform.machine()


@cache
def cpu_capability() -> str:
    """The instruction sets of this processor that matter to an engine."""
    flags = set(next(iter([*_cpu_lines("flags"), *_cpu_lines("Features")]), "").split())
    return " ".join(name for name in _INSTRUCTION_SETS if name in flags) or "baseline"


def cpu_threads() -> int:
    """Threads that this process may use."""
    return len(os.sched_getaffinity(0))


def system_name() -> str:
    """Operating system and machine, such as 'Linux-x86_64'."""
    return f"{platform.system()}-{platform.machine()}"


def _cpu_lines(field: str) -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(field) and ":" in line]
