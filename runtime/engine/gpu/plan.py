"""A TensorRT plan, opened: its library, its tensors, the shapes it was built for, and what TensorRT says when it fails.

A plan is native code. It is opened only from bytes that the caller verified, and never with host code of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from ...errors import DeviceError, DeviceMemoryError, DeviceUnavailableError, EngineError, EngineStaleError
from ..types import TensorSpec
from .cuda import as_error, bindings
from .refit import Refit, refit_engine
from .shapes import Profile, Shape
from .survey import KINDS

OUTPUT: Final = "vector"

_DTYPES = {
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "HALF": "float16",
    "FLOAT": "float32",
    "BOOL": "bool",
}
"""TensorRT's names of types → numpy's."""

_MEMORY_WORDS = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "insufficient memory")
_KEPT_MESSAGES = 8
_LONGEST_MESSAGE = 300
_SEVERE = ("INTERNAL_ERROR", "ERROR")


@dataclass(frozen=True, slots=True)
class Plan:
    """An open plan.

    Attributes:
        kind: tensorrt_rtx or tensorrt.
        library: TensorRT's module.
        runtime: What opened it; it must live as long as the engine.
        engine: TensorRT's engine.
        config: How its contexts are made: their working memory comes from us.
        cache: What TensorRT-RTX compiled for this GPU; None for the other kind.
        messages: The last errors that TensorRT wrote.
        spec: Inputs and output.
        profiles: The shapes that it was built for.
    """

    kind: str
    library: ModuleType
    runtime: Any
    engine: Any
    config: Any
    cache: Any
    messages: deque[str]
    spec: TensorSpec
    profiles: tuple[Profile, ...]

    @property
    def weights(self) -> int:
        """Bytes of its weights on the GPU."""
        engine = self.engine
        return max(int(engine.get_engine_stat(self.library.EngineStat.TOTAL_WEIGHTS_SIZE)), 0)

    def new_context(self) -> Any:
        """What runs the plan at one shape; it has no working memory yet.

        Raises:
            DeviceMemoryError, EngineError: See `failure`.
        """
        context = self.engine.create_execution_context(runtime_config=self.config)
        if context is None:
            raise failure(self.messages, "made no context for the plan")
        return context

    def compiled(self) -> bytes:
        """What TensorRT-RTX compiled for this GPU so far: given back to `open_plan`, the next start is faster."""
        cache = self.cache
        return b"" if cache is None else bytes(memoryview(cache.serialize()))


def open_plan(content: bytes, kind: str, compiled: bytes = b"", refit: Refit | None = None) -> Plan:
    """Open a plan on the GPU, which CUDA must have started on.

    Args:
        content: The plan, verified by the caller.
        kind: tensorrt_rtx or tensorrt.
        compiled: What `Plan.compiled` gave on this machine, verified too; what does not fit is not used.
        refit: The weights of a plan that has none of its own.

    Raises:
        DeviceUnavailableError: This kind of TensorRT is not installed.
        EngineStaleError: TensorRT does not take the plan, or its weights, here.
        DeviceMemoryError: Its weights do not fit into the GPU's memory.
    """
    library, messages = open_library(kind), deque[str](maxlen=_KEPT_MESSAGES)
    logger = _log_into(library, messages)
    runtime = library.Runtime(logger)
    if runtime is None:
        raise failure(messages, "did not start")
    runtime.engine_host_code_allowed = False
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise failure(messages, "does not take the plan on this machine", EngineStaleError)
    why = "" if refit is None else refit_engine(library, engine, logger, refit)
    if why:
        raise failure(messages, f"does not take the tower's weights into the plan ({why})", EngineStaleError)
    config, cache = _configure(library, engine, kind, compiled)
    spec, profiles = _read_spec(library, engine), _read_profiles(engine)
    return Plan(kind, library, runtime, engine, config, cache, messages, spec, profiles)


def open_library(kind: str) -> ModuleType:
    """Import TensorRT of one kind.

    Raises:
        DeviceUnavailableError: It is not installed, or does not load.
    """
    for name in KINDS[kind]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise _does_not_load(kind, error) from error
        except (ImportError, OSError) as error:
            raise _does_not_load(kind, error) from error
    raise DeviceUnavailableError(
        f"{kind} is not installed. Install haiku-edge with its extra for this GPU (docs/gpu.md), or use --device cpu."
    )


def failure(messages: deque[str], what: str, otherwise: type[DeviceError] = EngineError) -> DeviceError:
    """The error for something that TensorRT did not do.

    Args:
        messages: What it wrote; they are used up.
        what: What it did not do, after "TensorRT".
        otherwise: The error where neither memory nor the GPU itself is to blame.
    """
    text = "; ".join(messages)
    messages.clear()
    if any(word in text.lower() for word in _MEMORY_WORDS):
        return DeviceMemoryError(
            f"TensorRT {what}: the GPU's memory is used up. Close other programs that use the GPU, or use --device cpu."
        )
    (status,) = bindings().cudaGetLastError()
    if status.name != "cudaSuccess":
        return as_error(status)
    return otherwise(
        f"TensorRT {what}: {text or 'it gave no reason'}. Run haiku-edge engines rebuild, or use --device cpu."
    )


def _does_not_load(kind: str, error: Exception) -> DeviceUnavailableError:
    return DeviceUnavailableError(
        f"{kind} is installed but does not load ({error}). Install it again together with its libraries "
        "(docs/gpu.md), or use --device cpu."
    )


def _log_into(library: ModuleType, messages: deque[str]) -> Any:
    """A logger that keeps the errors, from whatever thread they come."""
    lock = threading.Lock()

    class Log(library.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity.name in _SEVERE:
                with lock:
                    messages.append(" ".join(message.split())[:_LONGEST_MESSAGE])

    return Log()


def _configure(library: ModuleType, engine: Any, kind: str, compiled: bytes) -> tuple[Any, Any]:
    """How contexts are made, and what they share of compiled kernels.

    TensorRT-RTX compiles kernels for a shape at once, not behind our back: a graph would keep the slow ones for good.
    """
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(library.ExecutionContextAllocationStrategy.USER_MANAGED)
    if kind != "tensorrt_rtx":
        return config, None
    strategies = library.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    cache = config.create_runtime_cache()
    if compiled:
        cache.deserialize(compiled)
    config.set_runtime_cache(cache)
    return config, cache


def _read_spec(library: ModuleType, engine: Any) -> TensorSpec:
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    types = {name: _DTYPES.get(engine.get_tensor_dtype(name).name, "?") for name in names}
    given = [name for name in names if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT]
    made = [name for name in names if name not in given]
    if not given or made != [OUTPUT] or types[OUTPUT] != "float32" or shapes[OUTPUT][-1] < 1:
        raise EngineError(f"The plan is no tower: its outputs are {made}, not '{OUTPUT}' of float32 and fixed length.")
    inputs = {name: (types[name], tuple(None if n < 0 else n for n in shapes[name])) for name in given}
    return TensorSpec(inputs, shapes[OUTPUT][-1])


def _read_profiles(engine: Any) -> tuple[Profile, ...]:
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    given = [name for name in names if name != OUTPUT]
    profiles = []
    for index in range(engine.num_optimization_profiles):
        ranges = {name: _range(engine, name, index) for name in given}
        least, most = ({name: shapes[end] for name, shapes in ranges.items()} for end in (0, 1))
        profiles.append(Profile(index, least, most))
    return tuple(profiles)


def _range(engine: Any, name: str, profile: int) -> tuple[Shape, Shape]:
    """Smallest and largest shape of an input in one profile."""
    shape = tuple(engine.get_tensor_shape(name))
    if min(shape) >= 0:
        return shape, shape
    least, _, most = engine.get_tensor_profile_shape(name, profile)
    return tuple(least), tuple(most)
