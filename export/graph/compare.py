"""An exported graph against the torch tower that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from haiku_edge.runtime.errors import BundleContentError

TOLERANCE = 1e-5
"""Largest difference of any entry of a unit vector in fp32: sums in another order give about 1e-7 to 1e-6."""


class GraphMismatchError(BundleContentError):
    """The exported graph does not compute what the torch tower computes."""


def session(graph: bytes, threads: int = 2) -> ort.InferenceSession:
    """Open a graph with ONNX Runtime on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def compare_with_torch(tower: nn.Module, graph: bytes, inputs: Mapping[str, NDArray[Any]]) -> float:
    """Run both on the same inputs.

    Args:
        tower: Torch tower in evaluation.
        graph: Its ONNX graph.
        inputs: Arrays by input name.

    Returns:
        Largest absolute difference of the vectors.
    """
    with torch.inference_mode():
        reference = tower(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()})
    found = session(graph).run(["vector"], dict(inputs))[0]
    return float(np.abs(reference.numpy() - found).max())


def check_parity(
    name: str, tower: nn.Module, graph: bytes, inputs: Mapping[str, NDArray[Any]], tolerance: float = TOLERANCE
) -> float:
    """As `compare_with_torch`, refusing a graph that differs.

    Raises:
        GraphMismatchError: The difference exceeds `tolerance` or is not a number.
    """
    difference = compare_with_torch(tower, graph, inputs)
    if not difference <= tolerance:
        raise GraphMismatchError(
            f"The exported {name} graph differs from torch by {difference:.1e}, more than {tolerance:.0e}. "
            "Do not ship it: export again with the versions that the project pins, and report it if it stays."
        )
    return difference
