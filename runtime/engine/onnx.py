"""A tower as an ONNX Runtime session on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..errors import BundleContentError, EngineError
from .external import check_locations
from .types import DeviceInfo, TensorSpec

OUTPUT = "vector"
_DTYPES = {"tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(float)": "float32"}
_ERRORS_ONLY = 3

# Telemetry is off by `runtime.offline` unless somebody imported ONNX Runtime before us: then this still silences it.
ort.disable_telemetry_events()


class OnnxEngine:
    """Runs one canonical ONNX graph on the CPU.

    Args:
        model: The bytes of the graph, verified by the bundle; nothing is opened by path.
        device: What to record about where it runs.
        weights: Name → verified bytes of each file that the graph keeps weights in.

    Raises:
        BundleContentError: The bytes are no graph that ONNX Runtime takes, it has no output named `vector`, or it
            refers to a file that is not among `weights`.
    """

    def __init__(self, model: bytes, device: DeviceInfo, weights: Mapping[str, bytes] | None = None) -> None:
        self._session = _open_session(model, device.threads, weights or {})
        self._spec = _read_spec(self._session)
        self._device = device

    @property
    def spec(self) -> TensorSpec:
        """Inputs and output of the graph."""
        return self._spec

    @property
    def device(self) -> DeviceInfo:
        """The CPU, and why it was chosen."""
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
        self._check(inputs)
        try:
            (vectors,) = self._session.run([OUTPUT], inputs)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed while it computed a batch: {_first_line(error)}") from error
        return np.asarray(vectors, dtype=np.float32)

    def _check(self, inputs: dict[str, NDArray[Any]]) -> None:
        if inputs.keys() != self._spec.inputs.keys():
            raise EngineError(f"The tower takes {sorted(self._spec.inputs)}, but was given {sorted(inputs)}.")
        for name, (dtype, shape) in self._spec.inputs.items():
            given = inputs[name]
            fits = given.ndim == len(shape) and all(
                want in (None, got) for want, got in zip(shape, given.shape, strict=True)
            )
            if given.dtype != dtype or not fits:
                raise EngineError(f"Input {name} must be {dtype} {shape}, not {given.dtype} {given.shape}.")


def _open_session(model: bytes, threads: int, weights: Mapping[str, bytes]) -> ort.InferenceSession:
    check_locations(model, weights)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads that spin take the core from the threads that decode the next tiles.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights:
        # From bytes alone, ONNX Runtime would open these names in the folder where the process happens to run.
        options.add_external_initializers_from_files_in_memory(
            list(weights), list(weights.values()), [len(content) for content in weights.values()]
        )
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleContentError(f"ONNX Runtime does not take the tower's graph: {_first_line(error)}") from error


def _read_spec(session: ort.InferenceSession) -> TensorSpec:
    outputs = {output.name: output for output in session.get_outputs()}
    if OUTPUT not in outputs or not isinstance(outputs[OUTPUT].shape[-1], int):
        raise BundleContentError(f"The tower's graph has no output '{OUTPUT}' of fixed length.")
    inputs = {
        node.name: (_DTYPES.get(node.type, node.type), tuple(d if isinstance(d, int) else None for d in node.shape))
        for node in session.get_inputs()
    }
    return TensorSpec(inputs=inputs, dimension=outputs[OUTPUT].shape[-1])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
