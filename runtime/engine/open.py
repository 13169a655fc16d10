"""Built engines, opened: a plan, a derived graph, packed weights, or the tower's own graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from .fingerprint import Fingerprint, cpu_name, cpu_threads
from .gpu.refit import RECIPE, REFIT_GRAPH, read_refit
from .machine import RUN_TIME, kind_of
from .model import TowerModel
from .onnx import PREPACKED, OnnxEngine, open_prepacked
from .openvino import OpenVinoEngine
from .types import DeviceInfo, Engine

PLAN = "engine.plan"
GRAPH = "engine.onnx"
COMPILED = "engine.compiled"
"""Files of a built engine: a TensorRT plan, a graph derived from the tower's, what TensorRT-RTX compiled of a plan."""


class EngineFiles(Protocol):
    """The files of a built engine: in the cache, or on their way there."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of one, verified."""
        ...

    def path(self, name: str) -> Path:
        """Where one lies, verified: for a library that maps it."""
        ...


def open_engine(
    fingerprint: Fingerprint,
    files: EngineFiles,
    model: Callable[[], TowerModel],
    *,
    requested: str,
    threads: int,
    batch: int,
    reason: str,
) -> Engine:
    """Open a built engine.

    Args:
        fingerprint: What it was built from and for: this machine.
        files: Its files.
        model: Reads the tower, for engines that take its own graph.
        requested: The device that was asked for.
        threads: Threads to compute with on a processor.
        batch: The largest batch of a GPU's engine.
        reason: Why this one runs.

    Raises:
        EngineCacheError: A file of it was altered.
        DeviceError: The device does not take it.
    """
    device = DeviceInfo(
        requested=requested,
        kind=kind_of(fingerprint.engine),
        provider=fingerprint.library,
        name=fingerprint.device,
        threads=threads,
        reason=reason,
        precision=fingerprint.precision,
    )
    if PLAN in files.names:
        from .gpu.tensorrt import TensorRTEngine

        compiled = files.read(COMPILED) if COMPILED in files.names else b""
        refit = read_refit(files.read(REFIT_GRAPH), files.read(RECIPE), model()) if RECIPE in files.names else None
        plan = files.read(PLAN)
        return TensorRTEngine(plan, fingerprint.engine, device, max_batch=batch, compiled=compiled, refit=refit)
    if PREPACKED[0] in files.names:
        graph, *_ = [files.path(name) for name in PREPACKED if name in files.names]
        return open_prepacked(graph, device)
    make = OpenVinoEngine if fingerprint.engine == "openvino" else OnnxEngine
    if GRAPH in files.names:
        return make(files.read(GRAPH), device)
    tower = model()
    return make(tower.graph, device, tower.weights)


def keep_compiled(engine: Engine, folder: Path) -> None:
    """Keep what an engine compiled while it ran, so that it need not do so again."""
    compiled = getattr(engine, "compiled", bytes)()
    if compiled:
        (folder / COMPILED).write_bytes(compiled)


def device_memory(engine: Engine) -> int | None:
    """Bytes that an engine takes on a GPU; None on a processor."""
    memory = getattr(engine, "memory", None)
    return None if memory is None else int(memory)


def plain_engine(
    graph: bytes,
    *,
    weights: Mapping[str, bytes] | None = None,
    threads: int | None = None,
    requested: str = "cpu",
    reason: str = "the tower as it is",
) -> OnnxEngine:
    """A graph in ONNX Runtime on the processor, as it is: what every other engine is compared with.

    Args:
        graph: Verified bytes of the graph.
        weights: Verified bytes of the files that the graph keeps weights in, by the names that it gives them.
        threads: Threads to compute with; None takes all cores that this process may use.
        requested: The device that was asked for.
        reason: Why this one runs.

    Raises:
        BundleContentError: The graph is not usable.
    """
    provider = f"{RUN_TIME}, CPUExecutionProvider"
    device = DeviceInfo(requested, "cpu", provider, cpu_name(), threads or cpu_threads(), reason)
    return OnnxEngine(graph, device, weights)
