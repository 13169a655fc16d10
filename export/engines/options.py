"""How a plan is built, and what comes of it: kept apart from what builds it, which needs more libraries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["tensorrt_rtx", "tensorrt"]

LEAST_CAPABILITY: Final = (8, 0)
"""The first compute capability with bf16: from there on plans are built on a machine without a GPU."""

FP8_FROM: Final = (8, 9)
"""The first compute capability that multiplies fp8."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build.

    Attributes:
        capabilities: Compute capabilities to build for, such as "8.9" (TensorRT-RTX). Empty: that of this machine's
            GPU; where there is none, or one that the library does not name, all from `least` on that it names.
        least: The first compute capability that has what the graph computes in.
        tf32: Let products in single precision round their inputs to 10 bits.
        stripped: Leave the weights out of the plan; a runtime puts the same ones back. Needs a GPU.
        workspace: Largest working memory of one layer, in bytes; None lets it take what the GPU has.
        timing_cache: What an earlier build on this GPU learnt; what does not fit is not used.
    """

    capabilities: tuple[str, ...] = ()
    least: tuple[int, int] = LEAST_CAPABILITY
    tf32: bool = False
    stripped: bool = False
    workspace: int | None = None
    timing_cache: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan, and what it took.

    Attributes:
        content: The plan.
        seconds: Time of the build.
        weights: Bytes of its weights on the GPU; 0 where the builder does not say.
        activations: Bytes of working memory on the GPU at the largest shapes; 0 where the builder does not say.
        timing_cache: What was learnt about kernels, for the next build on this GPU (TensorRT); empty for TensorRT-RTX.
    """

    content: bytes = field(repr=False)
    seconds: float
    weights: int
    activations: int
    timing_cache: bytes = field(default=b"", repr=False)


def capability_numbers(capability: str) -> tuple[int, ...]:
    """A compute capability as numbers to compare: 8 and 9 for "8.9"."""
    return tuple(map(int, capability.split(".")))
