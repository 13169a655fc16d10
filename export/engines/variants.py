"""A tower in half precision: float32 in and out, and single precision where half would lose what counts.

GPU engines take the precision from the graph (TensorRT builds strongly typed networks only), so each precision is a
graph of its own, derived from the canonical one. Every operator gets its precision from one rule, `_precision`:

- Learned products (MatMul, Conv) are in half, whatever they are given: there the time goes. GPUs sum them in single.
- Softmax, normalisation, sums and means, powers, roots and exponentials are in single.
- What quantises for a learned product, and back (Q/DQ), is in half as the product is.
- Gemm is in single: the exporter writes it where there is one row an item, in the head, which costs nothing.
- Averages of pixels (resizing, smoothing) are in single: a MatMul by a constant whose rows sum to one.
- Constants that half precision has no number for (a mask's −1e9, the norm's 1e-12) keep their operator in single.
- The rest follows what it is given: single if any of it is, so that a mask added to scores is added in single.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import onnx
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from onnx import TensorProto, helper

from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import EngineBuildError

from .weights import WeightsFile, read_tensors

Half = Literal["fp16", "bf16"]

_SINGLE: Final = "single"
_HALF: Final = "half"

_TYPES = {"fp16": (TensorProto.FLOAT16, np.dtype(np.float16)), "bf16": (TensorProto.BFLOAT16, np.dtype(bfloat16))}
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)

_BF16_OPSET = 22
"""The first opset whose Conv takes bf16; what else changed since opset 20 are further types, not meanings."""

_LEARNED = frozenset({"MatMul", "Conv", "ConvTranspose"})

_AROUND_PRODUCTS = frozenset({"QuantizeLinear", "DequantizeLinear"})

_SENSITIVE = frozenset(
    {
        "Cos", "CumSum", "Exp", "Gemm", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Log",
        "LogSoftmax", "LpNormalization", "Pow", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMean",
        "ReduceProd", "ReduceSum", "ReduceSumSquare", "Sin", "Softmax", "Sqrt",
    }
)  # fmt: skip

_NEVER_FLOAT = frozenset(
    {
        "And", "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual",
        "NonZero", "Not", "Or", "QuantizeLinear", "Shape", "Size", "Xor",
    }
)  # fmt: skip

_LEAST_NORMAL = float(np.finfo(np.float16).smallest_normal)
_LARGEST = float(np.finfo(np.float16).max)
_AVERAGE_TOLERANCE = 1e-4


@dataclass(slots=True)
class _State:
    """What is known while the nodes are passed in order.

    Attributes:
        precision: Half precision to write.
        constants: Name → array of each weight, float32 or float16, also of those folded.
        kinds: Name → precision of each floating value that is not a constant.
        nodes: The new nodes.
        written: Name → array and element type of each initialiser of the new graph.
    """

    precision: Half
    constants: dict[str, NDArray[Any]]
    kinds: dict[str, str] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    written: dict[str, tuple[NDArray[Any], int]] = field(default_factory=dict)


def to_half(model: TowerModel, precision: Half) -> TowerModel:
    """Derive the graph of a tower in half precision.

    Args:
        model: The canonical graph; its weights may be stored as fp16 with a Cast. It is not changed.
        precision: fp16 or bf16.

    Returns:
        A graph with the same inputs and the same float32 output, all large weights in one file beside it, each once
        and in the precision that it is used in. The digest stays the tower's: it says what was compiled.

    Raises:
        BundleContentError: The graph is no ONNX model, or its weights are not those given.
        EngineBuildError: It holds branches or loops, which no tower has.
    """
    proto, constants = read_tensors(model)
    state = _State(precision, {name: a for name, a in constants.items() if a.dtype in (np.float32, np.float16)})
    state.kinds |= {i.name: _SINGLE for i in proto.graph.input if i.type.tensor_type.elem_type in _FLOATS}
    for node in proto.graph.node:
        _pass(node, state)
    _single_outputs(proto.graph, state)
    del proto.graph.node[:]
    proto.graph.node.extend(state.nodes)
    if precision == "bf16":
        proto.opset_import[0].version = max(proto.opset_import[0].version, _BF16_OPSET)
    used = {name for node in state.nodes for name in node.input}
    others = {n: (a, helper.np_dtype_to_tensor_dtype(a.dtype)) for n, a in constants.items() if n in used}
    return _write(model, proto, others | state.written, f"{model.tower}.{precision}.weights")


def _write(model: TowerModel, proto: Any, tensors: Mapping[str, tuple[NDArray[Any], int]], location: str) -> TowerModel:
    file = WeightsFile(location)
    del proto.graph.initializer[:]
    for name in sorted(tensors):
        proto.graph.initializer.append(file.add(name, *tensors[name]))
    weights = file.content()
    return replace(
        model, graph=bytes(proto.SerializeToString(deterministic=True)), weights={location: weights} if weights else {}
    )


def _pass(node: Any, state: _State) -> None:
    """Give one node its precision, and write it with its inputs in that precision."""
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise EngineBuildError(
            f"The tower's graph branches at node {node.name!r} ({node.op_type}), which no tower does. "
            "It was not built. Export the bundle again."
        )
    if _fold(node, state):
        return
    written = onnx.NodeProto()
    written.CopyFrom(node)
    kind = _precision(node, state)
    if kind is not None and not _is_cast(node):
        written.input[:] = [_as(name, kind, state) for name in node.input]
    state.nodes.append(written)
    if kind is not None and node.op_type not in _NEVER_FLOAT and _gives_float(node):
        state.kinds |= dict.fromkeys(node.output, kind)


def _fold(node: Any, state: _State) -> bool:
    """Whether the node only stores a weight in another way: half with a Cast, or transposed."""
    if len(node.input) != 1 or node.input[0] not in state.constants:
        return False
    array = state.constants[node.input[0]]
    if node.op_type == "Transpose":
        perm = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
        array = array.transpose(perm)
    elif not (_is_cast(node) and _gives_float(node)):
        return False
    state.constants[node.output[0]] = array
    return True


def _precision(node: Any, state: _State) -> str | None:
    """The precision to compute a node in; None where it has nothing to do with floating numbers."""
    given = {state.kinds[name] for name in node.input if name in state.kinds}
    weights = [state.constants[name] for name in node.input if name in state.constants]
    if _is_cast(node):
        return _SINGLE
    if not given and not weights:
        return None
    if node.op_type in _SENSITIVE or any(_beyond_half(array) for array in weights):
        return _SINGLE
    if node.op_type in _AROUND_PRODUCTS:
        return _HALF
    if node.op_type in _LEARNED:
        return _SINGLE if _averages(node, state) else _HALF
    return _SINGLE if _SINGLE in given else _HALF


def _averages(node: Any, state: _State) -> bool:
    """Whether a node resizes or smooths: a product with a constant whose weights sum to one."""
    if node.op_type != "MatMul" or not any(state.kinds.get(name) == _SINGLE for name in node.input):
        return False
    for axis, name in zip((-1, 0), node.input, strict=True):
        array = state.constants.get(name)
        if array is not None and array.ndim == 2:
            return is_average(array, axis)
    return False


def is_average(matrix: NDArray[Any], axis: int) -> bool:
    """Whether a product with a matrix averages what it is given: its weights sum to one along `axis`."""
    return bool(np.allclose(matrix.sum(axis=axis, dtype=np.float64), 1, rtol=0, atol=_AVERAGE_TOLERANCE))


def _beyond_half(array: NDArray[Any]) -> bool:
    """Whether fp16 has no number for an entry: too large for any, or for a scalar too small."""
    if array.dtype == np.float16 or not array.size:
        return False
    largest = float(max(-array.min(), array.max()))
    return largest > _LARGEST or (array.size == 1 and 0 < largest < _LEAST_NORMAL)


def _is_cast(node: Any) -> bool:
    return bool(node.op_type == "Cast")


def _gives_float(node: Any) -> bool:
    """Whether a Cast is one to a floating type; true of every other node."""
    return not _is_cast(node) or any(a.name == "to" and a.i in _FLOATS for a in node.attribute)


def _as(name: str, kind: str, state: _State) -> str:
    """The name of a value in the precision `kind`; writes the initialiser or the Cast that this takes."""
    if name not in state.constants and state.kinds.get(name) in (None, kind):
        return name
    element, dtype = _TYPES[state.precision] if kind == _HALF else (TensorProto.FLOAT, np.dtype(np.float32))
    if name in state.constants:
        wanted = name if kind == _SINGLE else f"{name}.{kind}"
        if wanted not in state.written:
            state.written[wanted] = state.constants[name].astype(dtype), element
        return wanted
    wanted = f"{name}.{kind}"
    if wanted not in state.kinds:
        state.nodes.append(helper.make_node("Cast", [name], [wanted], name=f"{wanted}.cast", to=element))
        state.kinds[wanted] = kind
    return wanted


def _single_outputs(graph: Any, state: _State) -> None:
    """Cast what leaves the graph to single precision, under its own name."""
    for output in graph.output:
        if state.kinds.get(output.name) != _HALF:
            continue
        inner = f"{output.name}.inner"
        for node in state.nodes:
            node.input[:] = [inner if name == output.name else name for name in node.input]
            node.output[:] = [inner if name == output.name else name for name in node.output]
        state.nodes.append(helper.make_node("Cast", [inner], [output.name], name=f"{inner}.cast", to=TensorProto.FLOAT))
