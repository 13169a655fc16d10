"""An exported graph against the torch tower that it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from haiku_edge.runtime.engine import Engine, plain_engine
from haiku_edge.runtime.errors import BundleContentError

from .store import GraphFiles

TITLES = {"he": "H&E", "mif": "mIF", "text": "text"}
"""How messages call the towers."""

TOLERANCE = 1e-5
"""Largest difference of any entry of a unit vector in fp32: sums in another order give about 1e-7 to 1e-6."""


HALF_TOLERANCE = 5e-3
"""The same for matrices stored as fp16, whose rounding (1 in 2,000) adds up over the layers."""


AT_ONCE = 2
"""Cases that are computed at once."""


class GraphMismatchError(BundleContentError):
    """The exported graph does not compute what the torch tower computes."""


def session(graph: bytes, threads: int = 2) -> ort.InferenceSession:
    """Open a graph with ONNX Runtime on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def check_files(
    name: str, tower: nn.Module, files: GraphFiles, inputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float32], float]:
    """Compare a written graph, opened as the run time opens it, with torch.

    Args:
        name: How messages call the tower.
        tower: Torch tower in evaluation.
        files: Its graph on disk.
        inputs: Arrays by input name.

    Returns:
        The torch tower's vectors, (n, d) float32, and the largest absolute difference.

    Raises:
        GraphMismatchError: They differ by more than the storage explains.
    """
    engine = plain_engine(files.graph.read_bytes(), weights=files.read_weights())
    return check_graph(name, tower, engine, inputs, TOLERANCE if files.storage == "fp32" else HALF_TOLERANCE)


def check_graph(
    name: str, tower: nn.Module, engine: Engine, inputs: Mapping[str, NDArray[Any]], tolerance: float = TOLERANCE
) -> tuple[NDArray[np.float32], float]:
    """As `check_files`, with the engine that the run time makes of the graph."""
    pairs = [(_torch_vectors(tower, some), engine(**some)) for some in _few_at_once(inputs)]
    difference = max(float(np.abs(got - want).max()) for want, got in pairs)
    _refuse(name, difference, tolerance)
    return np.concatenate([want for want, _ in pairs]), difference


def _few_at_once(inputs: Mapping[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
    """The cases in slices whose activations are small beside a full-size tower's weights."""
    count = len(next(iter(inputs.values())))
    for start in range(0, count, AT_ONCE):
        yield {name: array[start : start + AT_ONCE] for name, array in inputs.items()}


def _torch_vectors(tower: nn.Module, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    with torch.inference_mode():
        vectors = tower(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()})
    return np.asarray(vectors.numpy())


def _refuse(name: str, difference: float, tolerance: float) -> None:
    if not difference <= tolerance:
        raise GraphMismatchError(
            f"The exported {name} graph differs from torch by {difference:.1e}, more than {tolerance:.0e}. "
            "Do not ship it: export again with the versions that the project pins, and report it if it stays."
        )
