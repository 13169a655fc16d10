"""Which engines are worth building on this machine, and how each is built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from numpy.typing import NDArray

from haiku_edge.runtime.engine import TowerModel
from haiku_edge.runtime.engine.machine import Machine
from haiku_edge.runtime.engine.onnx import save_prepacked
from haiku_edge.runtime.engine.open import GRAPH, PLAN
from haiku_edge.runtime.engine.openvino import openvino_precisions
from haiku_edge.runtime.errors import EngineBuildError
from haiku_edge.runtime.inference.gate import CALIBRATING
from haiku_edge.runtime.inference.progress import Progress

from .trial import AT_ONCE

Kind = Literal["tensorrt", "tensorrt_rtx"]
Inputs = Mapping[str, NDArray[Any]]
Build = Callable[[TowerModel, Path, Inputs, int, Progress], None]
"""Writes an engine's files into a folder: the tower, the folder, golden inputs, threads, progress."""

PREPACKED_FROM = 100 << 20
"""Bytes of a tower from which packing its weights beforehand saves start-up time that a user would notice."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that could be built.

    Attributes:
        engine: Which engine.
        precision: What it computes in, with the recipe where there are several.
        build: Writes its files.
        profile: Shapes that it is built for; empty where it takes any.
        settles: Candidates of the same word are left out once this one has passed; empty where all are tried.
        batch: Items at once while it is timed, and at most when it runs on a GPU.
        towers: Towers that it is for.
        on_request: Built only where its precision is asked for.
    """

    engine: str
    precision: str
    build: Build
    profile: str = ""
    settles: str = ""
    batch: int = AT_ONCE
    towers: tuple[str, ...] = ("he", "text", "mif")
    on_request: bool = False


def candidates(
    machine: Machine, tower: str, engines: Sequence[str] = (), precisions: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """Every engine that this machine could run, in the order in which they are tried.

    Args:
        machine: This machine.
        tower: he, text, mif or the name of a student.
        engines: Only these; all by default.
        precisions: Only these; all by default.
    """
    kind = "he" if tower.startswith("student-") else tower
    every = (*(_on_gpu(kind) if machine.gpus.usable else ()), *_ON_PROCESSOR)
    return tuple(
        each
        for each in every
        if each.engine in machine.libraries
        and kind in each.towers
        and (each.engine != "openvino" or each.precision.startswith("int") or each.precision in openvino_precisions())
        and (not engines or each.engine in engines)
        and (each.precision.split("-")[0] in precisions if precisions else not each.on_request)
    )


def _as_it_is(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    """Nothing to build: the engine takes the tower's own graph."""


def _prepacked(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    if model.size >= PREPACKED_FROM:
        save_prepacked(model, folder, threads)


def _dynamic(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    (folder / GRAPH).write_bytes(_quantise().quantise_dynamic(model, _rows(inputs)))


def _static(target: str) -> Build:
    """Builds a graph with measured ranges for one library."""

    def build(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
        quantise = _quantise()
        graph = quantise.quantise_static(model, _rows(inputs), method="percentile", target=target)
        (folder / GRAPH).write_bytes(graph)

    return build


def _compressed(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    (folder / GRAPH).write_bytes(_quantise().compress_weights(model))


def _quantise() -> ModuleType:
    """What derives graphs of integers."""
    with _needing_onnx():
        from . import quantise
    return quantise


@contextlib.contextmanager
def _needing_onnx() -> Iterator[None]:
    """A lean installation lacks the library that reads graphs."""
    try:
        yield
    except ImportError as error:
        raise EngineBuildError(
            f"{error.name} is not installed, so no other precision can be derived. Install haiku-edge[openvino], or "
            "build with --precision fp32."
        ) from error


def _rows(inputs: Inputs) -> list[dict[str, NDArray[Any]]]:
    """The calibrating cases one by one: a full-size tower's ranges then take no more memory than one tile."""
    count = len(next(iter(inputs.values())))
    rows = range(count)[CALIBRATING]
    return [{name: array[row : row + 1] for name, array in inputs.items()} for row in rows]


_ON_PROCESSOR = (
    Candidate("onnxruntime-cpu", "fp32", _prepacked),
    Candidate("openvino", "fp32", _as_it_is),
    Candidate("openvino", "bf16", _as_it_is),
    Candidate("openvino", "int8-weights", _compressed),
    # Padding changes the one scale of a row, and with it the vector: only for the tower whose inputs have none.
    Candidate("onnxruntime-cpu", "int8-dynamic", _dynamic, towers=("he",)),
    # Ranges are taken from golden cases, which may be simulated tissue; and a full-size tower needs some 10 GB for it.
    Candidate("onnxruntime-cpu", "int8-static", _static("onnxruntime"), on_request=True),
    Candidate("openvino", "int8-static", _static("openvino"), on_request=True),
)


def _on_gpu(tower: str) -> tuple[Candidate, ...]:
    """Half precision first: it is twice as fast, and where it fails its gate the next one is tried."""
    from .regimes import RANGES, describe_ranges

    profile, batch = describe_ranges(RANGES[tower]), RANGES[tower]["batch"][-1]
    plans = [
        Candidate(kind, precision, _plan(kind, precision), profile, settles=kind, batch=batch)
        for kind in ("tensorrt", "tensorrt_rtx")
        for precision in ("fp16", "bf16", "fp32")
    ]
    derived = Candidate("onnxruntime-cuda", "fp16", _half, settles="onnxruntime-cuda", batch=batch)
    plain = Candidate("onnxruntime-cuda", "fp32", _as_it_is, settles="onnxruntime-cuda", batch=batch)
    return (*plans, derived, plain)


def _plan(kind: Kind, precision: str) -> Build:
    """Builds a TensorRT plan."""

    def build(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
        with _needing_onnx():
            from .build_tensorrt import build_plan
            from .regimes import tower_regime
            from .variants import to_half

        regimes = [tower_regime(model)]
        graph = model if precision == "fp32" else to_half(model, "fp16" if precision == "fp16" else "bf16")
        (folder / PLAN).write_bytes(build_plan(graph, kind, regimes, progress=progress).content)

    return build


def _half(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    with _needing_onnx():
        from .graphs import inline
        from .variants import to_half

    (folder / GRAPH).write_bytes(inline(to_half(model, "fp16")).SerializeToString(deterministic=True))
