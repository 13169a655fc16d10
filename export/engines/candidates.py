"""Which engines are worth building on this machine, and how those of its processor are built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from haiku_edge.runtime.engine import TowerModel
from haiku_edge.runtime.engine.machine import Machine
from haiku_edge.runtime.engine.model import tile_tower
from haiku_edge.runtime.engine.onnx import save_prepacked
from haiku_edge.runtime.engine.open import GRAPH
from haiku_edge.runtime.engine.openvino import openvino_precisions
from haiku_edge.runtime.inference.progress import Progress

from .candidate import Build, Candidate, Inputs, as_it_is, calibrating_rows, needing_onnx
from .plans import PlanMaker
from .regimes import usual_ranges

PREPACKED_FROM = 100 << 20
"""Bytes of a tower from which packing its weights beforehand saves start-up time that a user would notice."""


def candidates(
    machine: Machine,
    tower: str,
    engines: Sequence[str] = (),
    precisions: Sequence[str] = (),
    plans: PlanMaker | None = None,
) -> tuple[Candidate, ...]:
    """Every engine that this machine could run, in the order in which they are tried.

    Args:
        machine: This machine.
        tower: he, text, mif, spade or the name of a student.
        engines: Only these; all by default.
        precisions: Only these; all by default.
        plans: How TensorRT's plans are made; by default whole, for the shapes usual for such a tower.
    """
    kind = tile_tower(tower)
    plans = plans or PlanMaker(usual_ranges(kind))
    on_gpu = plans.candidates(machine.gpus.gpus[0].capability) if machine.gpus.usable else ()
    return tuple(
        each
        for each in (*on_gpu, *_ON_PROCESSOR)
        if each.engine in machine.libraries
        and kind in each.towers
        and (each.engine != "openvino" or each.precision.startswith("int") or each.precision in openvino_precisions())
        and (not engines or each.engine in engines)
        and (each.precision.split("-")[0] in precisions if precisions else not each.on_request)
    )


def _prepacked(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    if model.size >= PREPACKED_FROM:
        save_prepacked(model, folder, threads)


def _dynamic(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    (folder / GRAPH).write_bytes(_quantise().quantise_dynamic(model, calibrating_rows(inputs)))


def _static(target: str) -> Build:
    """Builds a graph with measured ranges for one library."""

    def build(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
        quantise = _quantise()
        graph = quantise.quantise_static(model, calibrating_rows(inputs), method="percentile", target=target)
        (folder / GRAPH).write_bytes(graph)

    return build


def _compressed(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    (folder / GRAPH).write_bytes(_quantise().compress_weights(model))


def _quantise() -> ModuleType:
    """What derives graphs of integers."""
    with needing_onnx():
        from . import quantise
    return quantise


_ON_PROCESSOR = (
    Candidate("onnxruntime-cpu", "fp32", _prepacked),
    Candidate("openvino", "fp32", as_it_is),
    Candidate("openvino", "bf16", as_it_is),
    Candidate("openvino", "int8-weights", _compressed),
    # Padding changes the one scale of a row, and with it the vector: only for the tower whose inputs have none.
    Candidate("onnxruntime-cpu", "int8-dynamic", _dynamic, towers=("he",)),
    # Ranges are taken from golden cases, which may be simulated tissue; and a full-size tower needs some 10 GB for it.
    Candidate("onnxruntime-cpu", "int8-static", _static("onnxruntime"), on_request=True),
    Candidate("openvino", "int8-static", _static("openvino"), on_request=True),
)
