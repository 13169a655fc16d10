"""A tower as an ONNX Runtime session: plain, prepacked, or on a CUDA device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..errors import BundleContentError, DeviceUnavailableError, EngineBuildError, EngineCacheError, EngineError
from .external import check_locations
from .model import TowerModel
from .types import DeviceInfo, TensorSpec, check_inputs

OUTPUT = "vector"
CUDA = "CUDAExecutionProvider"
ALONE: Final = "haiku_edge.alone"
"""Key of a graph's metadata: '1' where rows of a batch would change each other, so that each is computed alone."""

PREPACKED: Final = ("prepacked.onnx", "prepacked.weights")
"""Files that `save_prepacked` writes; the first is the one to open."""

_CPU = "CPUExecutionProvider"
_DTYPES = {"tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(float)": "float32"}
_ERRORS_ONLY = 3
_LEAST_OUTSIDE = "1024"

_CUDA_OPTIONS = {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
"""TensorFloat-32 has 10 bits of mantissa, not what fp32 promises; a doubling arena would hold twice the peak."""

# Telemetry is off by `runtime.offline` unless somebody imported ONNX Runtime before us: then this still silences it.
ort.disable_telemetry_events()


class SessionEngine:
    """Runs a tower in an open session of ONNX Runtime, whatever computes in it.

    Args:
        session: The session.
        device: What to record about where it runs.

    Raises:
        BundleContentError: The graph has no output named `vector` of fixed length.
    """

    def __init__(self, session: ort.InferenceSession, device: DeviceInfo) -> None:
        self._session = session
        self._spec = _read_spec(session)
        self._device = device
        self._alone = session.get_modelmeta().custom_metadata_map.get(ALONE) == "1"

    @property
    def spec(self) -> TensorSpec:
        """Inputs and output of the graph."""
        return self._spec

    @property
    def device(self) -> DeviceInfo:
        """The device, and why it was chosen."""
        return self._device

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Embed a batch.

        Args:
            inputs: The graph's inputs by name, in the dtypes and shapes of `spec`.

        Returns:
            (n, dimension) float32, L2-normalised by the graph.

        Raises:
            EngineError: An input is missing or misshapen, or the session failed.
        """
        check_inputs(self._spec, inputs)
        rows = len(next(iter(inputs.values())))
        if not self._alone or rows < 2:
            return self._run(inputs)
        return np.concatenate([self._run({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(rows)])

    def embed_batches(self, batches: Iterable[Mapping[str, NDArray[Any]]]) -> Iterator[NDArray[np.float32]]:
        """Embed one batch after the other, in order; the next is asked for when the one before is done."""
        return (self(**batch) for batch in batches)

    def _run(self, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        try:
            (vectors,) = self._session.run([OUTPUT], inputs)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed while it computed a batch: {first_line(error)}") from error
        return np.asarray(vectors, dtype=np.float32)


class OnnxEngine(SessionEngine):
    """Runs one graph on the CPU or, where `device.kind` is cuda, on ONNX Runtime's CUDA provider.

    Args:
        model: The bytes of the graph, verified by the bundle; nothing is opened by path.
        device: What to record about where it runs.
        weights: Name → verified bytes of each file that the graph keeps weights in.

    Raises:
        BundleContentError: The bytes are no graph that ONNX Runtime takes, it has no output named `vector`, or it
            refers to a file that is not among `weights`.
        DeviceUnavailableError: CUDA is asked for, and this ONNX Runtime cannot use it here.
    """

    def __init__(self, model: bytes, device: DeviceInfo, weights: Mapping[str, bytes] | None = None) -> None:
        options = session_options(device.threads)
        session = open_session(model, options, weights or {}, _providers(device))
        if device.kind == "cuda" and CUDA not in session.get_providers():
            raise _no_cuda("its libraries or the driver do not load")
        super().__init__(session, device)


def cuda_available() -> bool:
    """Whether the ONNX Runtime that is installed has a CUDA provider; it may still find no device."""
    return CUDA in ort.get_available_providers()


def cuda_version() -> str:
    """The version of CUDA that the ONNX Runtime that is installed was built with; empty where it was built without."""
    return str(getattr(ort, "cuda_version", ""))


def save_prepacked(model: TowerModel, folder: Path, threads: int) -> tuple[str, ...]:
    """Write a tower as ONNX Runtime has it in memory: optimised, its weights packed for this processor's kernels.

    For the cache of engines alone: the files fit this processor and this version of ONNX Runtime, and no other.

    Args:
        model: The tower.
        folder: Where to write; it holds none of `PREPACKED` yet.
        threads: Threads to pack with.

    Returns:
        The names of the files.

    Raises:
        BundleContentError: ONNX Runtime does not take the graph.
        EngineBuildError: It can't write the files.
    """
    options = session_options(threads)
    options.optimized_model_filepath = str(folder / PREPACKED[0])
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", PREPACKED[1])
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", _LEAST_OUTSIDE)
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    open_session(model.graph, options, model.weights)
    written = tuple(name for name in PREPACKED if (folder / name).is_file())
    if PREPACKED[0] not in written:
        raise EngineBuildError("ONNX Runtime wrote no prepacked tower. See whether the disk is full, and build again.")
    return written


def open_prepacked(path: Path, device: DeviceInfo) -> SessionEngine:
    """Open what `save_prepacked` wrote; the weights are mapped from the file, so processes share them.

    Args:
        path: The first of `PREPACKED`, in a folder that is the user's alone; the cache has compared the digests.
        device: What to record about where it runs.

    Raises:
        EngineCacheError: ONNX Runtime does not take it.
    """
    options = session_options(device.threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return SessionEngine(ort.InferenceSession(path, options, providers=[_CPU], enable_fallback=0), device)
    except Exception as error:
        raise EngineCacheError(
            f"ONNX Runtime does not take its own prepacked tower: {first_line(error)} Run `haiku-edge engines rebuild`."
        ) from error


def session_options(threads: int) -> ort.SessionOptions:
    """What every session of ours has in common.

    Arena and memory pattern stay on, as they are by default: without them a batch of 8 took more memory and more time.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads that spin take the core from the threads that decode the next tiles.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(
    model: bytes,
    options: ort.SessionOptions,
    weights: Mapping[str, bytes],
    providers: list[str | tuple[str, dict[str, str]]] | None = None,
) -> ort.InferenceSession:
    """Open a graph from verified bytes.

    Args:
        model: The graph.
        options: How; with devices added, `providers` must be None and empty.
        weights: Name → bytes of each file that the graph keeps weights in.
        providers: Providers in order; None takes those of the devices in `options`, or the CPU.

    Raises:
        BundleContentError: ONNX Runtime does not take it, or it refers to other files.
    """
    check_locations(model, weights)
    if weights:
        # From bytes alone, ONNX Runtime would open these names in the folder where the process happens to run.
        options.add_external_initializers_from_files_in_memory(
            list(weights), list(weights.values()), [len(content) for content in weights.values()]
        )
    given = providers or ([] if options.has_providers() else [_CPU])
    try:
        return ort.InferenceSession(model, options, providers=given, enable_fallback=0)
    except Exception as error:
        raise BundleContentError(f"ONNX Runtime does not take the tower's graph: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of a library's message."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _providers(device: DeviceInfo) -> list[str | tuple[str, dict[str, str]]]:
    """The CPU computes shapes for the CUDA provider; that the CUDA provider is there is checked once it is open."""
    if device.kind != "cuda":
        return [_CPU]
    if not cuda_available():
        raise _no_cuda("the ONNX Runtime that is installed has none")
    ort.preload_dlls()
    return [(CUDA, _CUDA_OPTIONS), _CPU]


def _no_cuda(reason: str) -> DeviceUnavailableError:
    return DeviceUnavailableError(
        f"ONNX Runtime's CUDA provider can't be used: {reason}. Install haiku-edge[gpu] on a machine with an NVIDIA "
        "GPU, or use --device cpu."
    )


def _read_spec(session: ort.InferenceSession) -> TensorSpec:
    outputs = {output.name: output for output in session.get_outputs()}
    if OUTPUT not in outputs or not isinstance(outputs[OUTPUT].shape[-1], int):
        raise BundleContentError(f"The tower's graph has no output '{OUTPUT}' of fixed length.")
    inputs = {
        node.name: (_DTYPES.get(node.type, node.type), tuple(d if isinstance(d, int) else None for d in node.shape))
        for node in session.get_inputs()
    }
    return TensorSpec(inputs=inputs, dimension=outputs[OUTPUT].shape[-1])
