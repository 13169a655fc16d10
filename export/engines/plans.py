"""Engines for an NVIDIA GPU: TensorRT plans in each precision, and ONNX Runtime's CUDA provider."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from haiku_edge.runtime.engine import TowerModel
from haiku_edge.runtime.engine.gpu.refit import RECIPE, REFIT_GRAPH
from haiku_edge.runtime.engine.open import GRAPH, PLAN
from haiku_edge.runtime.engine.timing_cache import TimingCache
from haiku_edge.runtime.errors import EngineBuildError, EngineCacheError
from haiku_edge.runtime.inference.progress import Progress

from .candidate import Build, Candidate, Inputs, as_it_is, calibrating_rows, needing_onnx
from .options import FP8_FROM, LEAST_CAPABILITY, BuildOptions, BuiltPlan, Kind, capability_numbers
from .regimes import Ranges, describe_ranges, most_rows, tower_regimes

Precision = Literal["fp32", "fp16", "bf16", "int8-static", "fp8-static"]

KINDS: Final[tuple[Kind, ...]] = ("tensorrt", "tensorrt_rtx")
FLOATS: Final[tuple[Precision, ...]] = ("fp16", "bf16", "fp32")
"""Half precision first: it is twice as fast, and where it fails its gate the next one is tried."""


@dataclass(frozen=True, slots=True)
class PlanMaker:
    """How the plans of one tower are made.

    Attributes:
        ranges: Shapes that they take.
        stripped: Leave the weights to the bundle, where the GPU's builder allows it.
        timings: What TensorRT learnt before on this GPU; None where nothing is kept.
    """

    ranges: Sequence[Ranges]
    stripped: bool = False
    timings: TimingCache | None = None

    def candidates(self, capability: str) -> tuple[Candidate, ...]:
        """Every engine for a GPU of this compute capability, in the order in which they are tried."""
        plans = [self._candidate(kind, precision) for kind in KINDS for precision in FLOATS]
        eights = [self._candidate(kind, precision) for kind in KINDS for precision in eight_bits(capability)]
        rows, settles = most_rows(self.ranges), "onnxruntime-cuda"
        derived = Candidate(settles, "fp16", _half, settles=settles, batch=rows)
        plain = Candidate(settles, "fp32", as_it_is, settles=settles, batch=rows)
        return (*plans, *eights, derived, plain)

    def _candidate(self, kind: Kind, precision: Precision) -> Candidate:
        """8 bits only where asked for: their ranges are taken from golden cases, which may be simulated tissue."""
        whole, is_float = self._plan(kind, precision), precision in FLOATS
        stripped = self._stripped(kind, precision) if self.stripped and is_float else None
        return Candidate(
            kind,
            precision,
            stripped or whole,
            describe_ranges(self.ranges),
            settles=kind if is_float else "",
            batch=most_rows(self.ranges),
            on_request=not is_float,
            otherwise=None if stripped is None else whole,
        )

    def _plan(self, kind: Kind, precision: Precision) -> Build:
        """Builds a plan that is whole."""

        def build(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
            derived = derive(model, precision, inputs)
            options = BuildOptions(least=FP8_FROM if precision == "fp8-static" else LEAST_CAPABILITY)
            (folder / PLAN).write_bytes(self._build(model, derived, kind, progress, options))

        return build

    def _stripped(self, kind: Kind, precision: Precision) -> Build:
        """Builds a plan without weights, and the recipe by which it gets them back."""

        def build(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
            with needing_onnx():
                from .stripped import strip_weights

            derived = derive(model, precision, inputs)
            parts = strip_weights(model, derived)
            plan = self._build(model, derived, kind, progress, BuildOptions(stripped=True))
            if len(plan) > parts.named:
                raise EngineBuildError(f"The plan without weights takes {len(plan)} bytes, more than they do.")
            for name, content in ((PLAN, plan), (REFIT_GRAPH, parts.graph), (RECIPE, parts.recipe)):
                (folder / name).write_bytes(content)

        return build

    def _build(
        self, model: TowerModel, derived: TowerModel, kind: Kind, progress: Progress, options: BuildOptions
    ) -> bytes:
        """The bytes of a plan. TensorRT-RTX measures nothing, so it has no timings to keep."""
        from .build_tensorrt import build_plan

        def build(learnt: bytes) -> BuiltPlan:
            regimes, how = tower_regimes(model, self.ranges), replace(options, timing_cache=learnt)
            return build_plan(derived, kind, regimes, options=how, progress=progress)

        return build_with_timings(build, self.timings if kind == "tensorrt" else None).content


def build_with_timings(build: Callable[[bytes], BuiltPlan], timings: TimingCache | None) -> BuiltPlan:
    """Build with what earlier builds on this GPU learnt, and keep what this one did.

    Args:
        build: Builds, given what is kept; nothing where that was altered, for then it is learnt anew.
        timings: Where it is kept; None for nowhere. A plan stays when its timings can't be kept.
    """
    learnt = b""
    if timings is not None:
        with contextlib.suppress(EngineCacheError):
            learnt = timings.read()
    built = build(learnt)
    if timings is not None and built.timing_cache != learnt:
        with contextlib.suppress(EngineCacheError):
            timings.keep(built.timing_cache)
    return built


def eight_bits(capability: str) -> tuple[Precision, ...]:
    """The precisions of 8 bits that a GPU multiplies in hardware."""
    return ("fp8-static", "int8-static") if capability_numbers(capability) >= FP8_FROM else ("int8-static",)


def derive(model: TowerModel, precision: Precision, inputs: Inputs) -> TowerModel:
    """The graph of a tower in a precision.

    Args:
        model: The canonical tower.
        precision: What to compute in.
        inputs: Golden inputs, of which ranges of 8 bits see every second.

    Raises:
        EngineBuildError: The library that reads graphs is not installed.
    """
    if precision == "fp32":
        return model
    with needing_onnx():
        from .explicit import quantise_explicit
        from .variants import to_half
    if precision == "fp16" or precision == "bf16":
        return to_half(model, precision)
    return quantise_explicit(model, calibrating_rows(inputs), "int8" if precision == "int8-static" else "fp8")


def _half(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    with needing_onnx():
        from .graphs import inline
        from .variants import to_half

    (folder / GRAPH).write_bytes(inline(to_half(model, "fp16")).SerializeToString(deterministic=True))
