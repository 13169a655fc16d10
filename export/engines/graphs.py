"""Reading and editing canonical graphs: weights brought in, nodes found by what they do, constants replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine.model import TowerModel

from .weights import read_tensors


def inline(model: TowerModel) -> onnx.ModelProto:
    """A tower with its weights inside the graph, matrices that are stored as fp16 multiplied out to fp32.

    Raises:
        BundleContentError: The graph is no ONNX model, or refers to bytes that are not there.
    """
    loaded, arrays = read_tensors(model)
    for tensor in loaded.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    _widen(loaded.graph)
    return loaded


def _widen(graph: onnx.GraphProto) -> None:
    """Fold each Cast of a constant from fp16 to fp32."""
    halves = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    for node in [n for n in graph.node if n.op_type == "Cast" and n.input[0] in halves]:
        half = halves[node.input[0]]
        half.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(half).astype(np.float32), node.output[0]))
        graph.node.remove(node)


class GraphEditor:
    """A graph under change.

    Args:
        model: A graph with its weights inside; changed in place. Nodes without a name get one.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._graph = model.graph
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        self._values = {name for node in self._graph.node for name in node.output}
        for number, node in enumerate(self._graph.node):
            node.name = node.name or f"{node.op_type}.{number}"

    def array(self, name: str) -> NDArray[Any]:
        """The values of a constant."""
        return np.asarray(numpy_helper.to_array(self._constants[name]))

    def has(self, value: str) -> bool:
        """Whether a node makes the value."""
        return value in self._values

    def nodes(self, operator: str) -> list[onnx.NodeProto]:
        """Every node of an operator."""
        return [node for node in self._graph.node if node.op_type == operator]

    def products(self) -> list[onnx.NodeProto]:
        """Every MatMul of computed values with a constant float matrix."""
        return [node for node in self.nodes("MatMul") if self._is_product(node)]

    def products_of(self, value: str) -> list[onnx.NodeProto]:
        """Those of them that take a value."""
        return [node for node in self.products() if node.input[0] == value]

    def convolutions(self) -> list[onnx.NodeProto]:
        """Every convolution with constant weights."""
        return [node for node in self.nodes("Conv") if node.input[1] in self._constants]

    def has_consumers(self, value: str, besides: Sequence[onnx.NodeProto]) -> bool:
        """Whether anything but these nodes takes a value."""
        known = {node.name for node in besides}
        taken = any(value in node.input for node in self._graph.node if node.name not in known)
        return taken or any(output.name == value for output in self._graph.output)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        return self.add(numpy_helper.from_array(np.ascontiguousarray(values), name))

    def add(self, tensor: onnx.TensorProto) -> str:
        """Add a constant as it is, and return its name."""
        self._graph.initializer.append(tensor)
        self._constants[tensor.name] = self._graph.initializer[-1]
        return str(tensor.name)

    def insert_before(
        self, node: onnx.NodeProto, operator: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> None:
        """Add a node before another."""
        self._insert(self._place(node), operator, inputs, outputs, attributes)

    def insert_after(self, node: onnx.NodeProto, operator: str, inputs: list[str], outputs: list[str]) -> None:
        """Add a node behind another."""
        self._insert(self._place(node) + 1, operator, inputs, outputs, {})

    def remove(self, node: onnx.NodeProto) -> None:
        """Take a node out."""
        del self._graph.node[self._place(node)]

    def finish(self) -> onnx.ModelProto:
        """Drop the constants that nothing takes any more, and return the graph."""
        taken = {name for node in self._graph.node for name in node.input}
        taken |= {output.name for output in self._graph.output}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in taken]
        if len(kept) < len(self._graph.initializer):
            del self._graph.initializer[:]
            self._graph.initializer.extend(kept)
            self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        return self.model

    def _is_product(self, node: onnx.NodeProto) -> bool:
        matrix = self._constants.get(node.input[1])
        return (
            matrix is not None
            and matrix.data_type == TensorProto.FLOAT
            and len(matrix.dims) == 2
            and node.input[0] not in self._constants
        )

    def _place(self, node: onnx.NodeProto) -> int:
        return next(i for i, other in enumerate(self._graph.node) if other.name == node.name)

    def _insert(self, place: int, operator: str, inputs: list[str], outputs: list[str], attributes: Any) -> None:
        node = helper.make_node(operator, inputs, outputs, name=f"{operator}.{outputs[0]}", **attributes)
        self._graph.node.insert(place, node)
        self._values.update(outputs)
