"""A tower as an ONNX Runtime session on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..errors import BundleContentError, EngineError
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

    Raises:
        BundleContentError: The bytes are no graph that ONNX Runtime takes, or it has no output named `vector`.
    """

    def __init__(self, model: bytes, device: DeviceInfo) -> None:
        self._session = _open_session(model, device.threads)
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


def _open_session(model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads that spin take the core from the threads that decode the next tiles.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
