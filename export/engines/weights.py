"""The weights of a graph in memory: read from verified bytes, written beside a new graph, never opened by path."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine.external import check_locations
from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import BundleContentError

_LEAST_OUTSIDE = 1024
"""Bytes from which a weight goes beside the graph; shapes and axes stay inside, where the parsers look for them."""

_ALIGNMENT = 256


def read_graph(model: TowerModel) -> Any:
    """Parse a graph, and see that it refers to no weights but its own.

    Returns:
        The onnx.ModelProto, a copy of its own; weights beside the graph are not in it.

    Raises:
        BundleContentError: It is no ONNX model, or refers to weights that are not there.
    """
    check_locations(model.graph, model.weights)
    try:
        return onnx.ModelProto.FromString(model.graph)
    except Exception:
        raise _damaged(model) from None


def read_tensors(model: TowerModel) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Parse a graph, and find its weights.

    Returns:
        As `read_graph`; and name → array of each initialiser. Those beside the graph are views of its bytes.

    Raises:
        BundleContentError: It is no ONNX model, or refers to bytes that are not there.
    """
    proto = read_graph(model)
    try:
        return proto, {tensor.name: _array(tensor, model.weights) for tensor in proto.graph.initializer}
    except (ValueError, KeyError, TypeError):
        raise _damaged(model) from None


def outside_weights(model: TowerModel) -> dict[str, memoryview]:
    """The weights that lie beside a graph: name → bytes.

    Raises:
        BundleContentError: It is no ONNX model, its weights are not all there, or it refers to some from elsewhere
            than its list of initialisers, where a parser would look for a file.
    """
    graph = read_graph(model).graph
    if any(_is_outside(attribute.t) for node in graph.node for attribute in node.attribute):
        raise _damaged(model)
    try:
        return {tensor.name: _span(tensor, model.weights) for tensor in graph.initializer if _is_outside(tensor)}
    except (ValueError, KeyError, TypeError):
        raise _damaged(model) from None


class WeightsFile:
    """The file beside a new graph, filled weight by weight."""

    def __init__(self, location: str) -> None:
        """Name the file as the graph will."""
        self._location = location
        self._stream = io.BytesIO()

    def add(self, name: str, array: NDArray[Any], element: int) -> Any:
        """Add a weight.

        Args:
            name: Its name in the graph.
            array: Its values, in a type of `element`'s size.
            element: ONNX element type.

        Returns:
            The onnx.TensorProto to put into the graph: with its values where they are few.
        """
        tensor = TensorProto(name=name, data_type=element, dims=array.shape)
        content = np.ascontiguousarray(array).tobytes()
        if len(content) < _LEAST_OUTSIDE:
            tensor.raw_data = content
            return tensor
        self._stream.write(bytes(-self._stream.tell() % _ALIGNMENT))
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self._location), ("offset", self._stream.tell()), ("length", len(content))):
            tensor.external_data.add(key=key, value=str(value))
        self._stream.write(content)
        return tensor

    def content(self) -> bytes:
        """The whole file; empty where no weight went into it."""
        return self._stream.getvalue()


def _damaged(model: TowerModel) -> BundleContentError:
    return BundleContentError(
        f"The graph of the {model.tower} tower is no ONNX model, or its weights are not all there. "
        "Get the bundle again from where it came from, or export it again."
    )


def _is_outside(tensor: Any) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _array(tensor: Any, weights: Mapping[str, bytes]) -> NDArray[Any]:
    if not _is_outside(tensor):
        return np.asarray(numpy_helper.to_array(tensor))
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    return np.frombuffer(_span(tensor, weights), dtype).reshape(tuple(tensor.dims))


def _span(tensor: Any, weights: Mapping[str, bytes]) -> memoryview:
    """The bytes of a weight that lies beside its graph; ValueError or KeyError where they are not all there."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    offset, content = int(entries.get("offset", 0)), weights[entries["location"]]
    length = int(entries.get("length", len(content) - offset))
    itemsize = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    if offset < 0 or offset + length > len(content) or length != itemsize * int(np.prod(tensor.dims, dtype=np.int64)):
        raise ValueError("beyond the end, or of another length")
    return memoryview(content)[offset : offset + length]
