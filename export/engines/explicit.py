"""Graphs with explicit Q/DQ for TensorRT: 8-bit products, integers or floats, in a tower of half precision.

TensorRT takes the precision from the graph: a product is computed in 8 bits where both of its operands are quantised
and dequantised just before it. Only products with a constant matrix are: attention, convolutions, normalisation,
averages of pixels and the head stay as fp16 has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import onnx
from ml_dtypes import float8_e4m3fn
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine.fingerprint import cpu_threads
from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.engine.onnx import open_session, session_options

from .graphs import GraphEditor, inline
from .quantise import Batches, equalise
from .variants import is_average, to_half

Eight = Literal["int8", "fp8"]


@dataclass(frozen=True, slots=True)
class _Type:
    """A type of 8 bits.

    Attributes:
        element: ONNX element type.
        dtype: numpy's.
        largest: The largest number that is used.
        share: Per cent of activations that its range is to hold. Integers lose a step everywhere to the few that are
            loudest, floats hardly do.
    """

    element: int
    dtype: np.dtype[Any]
    largest: float
    share: float


_TYPES: Final[Mapping[Eight, _Type]] = {
    "int8": _Type(TensorProto.INT8, np.dtype(np.int8), 127.0, 99.99),
    "fp8": _Type(TensorProto.FLOAT8E4M3FN, np.dtype(float8_e4m3fn), 448.0, 100.0),
}

_LEAST_SCALE = float(np.finfo(np.float16).smallest_normal)


def quantise_explicit(model: TowerModel, batches: Batches, kind: Eight) -> TowerModel:
    """Quantise the products of a tower, and leave the rest in fp16.

    Args:
        model: A canonical tower.
        batches: Real inputs, by which the ranges of activations are measured.
        kind: int8; or fp8, which is e4m3.

    Returns:
        The graph, of pure ONNX operators, with float32 in and out, and its weights beside it.
    """
    edited = GraphEditor(equalise(inline(model), batches))
    products = [product for product in edited.products() if not is_average(edited.array(product.input[1]), 0)]
    eight = _TYPES[kind]
    ranges = measure_ranges(edited.model, sorted({product.input[0] for product in products}), batches, eight.share)
    for product in products:
        _quantise_product(edited, product, ranges[product.input[0]], eight)
    quantised = replace(model, graph=bytes(edited.finish().SerializeToString()), weights={})
    return to_half(quantised, "fp16")


def measure_ranges(
    model: onnx.ModelProto, values: Sequence[str], batches: Batches, share: float = 100.0
) -> dict[str, float]:
    """How far the numbers of some values of a graph reach: the graph is run as it is, one batch after the other.

    Args:
        model: The graph, with its weights inside; as before afterwards.
        values: Names of computed values.
        batches: Inputs; the widest of them counts.
        share: Per cent of a batch's absolute numbers that lie within.
    """
    session = open_session(_watching(model, values), session_options(cpu_threads()), {})
    reaches = dict.fromkeys(values, 0.0)
    for batch in batches if values else ():
        for value, array in zip(values, session.run(list(values), dict(batch)), strict=True):
            reaches[value] = max(reaches[value], float(np.percentile(np.abs(array), share)))
    return reaches


def _watching(model: onnx.ModelProto, values: Sequence[str]) -> bytes:
    """The graph with more outputs. Not copied: a full-size tower takes over a gigabyte."""
    own = len(model.graph.output)
    model.graph.output.extend(helper.make_tensor_value_info(value, TensorProto.FLOAT, None) for value in values)
    content = bytes(model.SerializeToString())
    del model.graph.output[own:]
    return content


def _quantise_product(edited: GraphEditor, product: onnx.NodeProto, reach: float, kind: _Type) -> None:
    """Put Q/DQ before both operands of a product."""
    value, matrix, name = product.input[0], edited.array(product.input[1]), product.name
    scale = _scales(np.float32(reach), kind)
    pair = [f"{value}.q", f"{value}.dq"]
    if not edited.has(pair[1]):
        marks = [edited.constant(f"{value}.scale", scale), _zeros(edited, f"{value}.zero", scale, kind)]
        edited.insert_before(product, "QuantizeLinear", [value, *marks], pair[:1])
        edited.insert_before(product, "DequantizeLinear", [pair[0], *marks], pair[1:])
    columns = _scales(np.abs(matrix).max(axis=0), kind)
    stored = _constant(edited, f"{name}.stored", _round(np.divide(matrix, columns, dtype=np.float32), kind), kind)
    marks = [edited.constant(f"{name}.scale", columns), _zeros(edited, f"{name}.zero", columns, kind)]
    edited.insert_before(product, "DequantizeLinear", [stored, *marks], [f"{name}.matrix"], axis=1)
    product.input[:] = [pair[1], f"{name}.matrix"]


def _scales(largest: NDArray[np.float32] | np.float32, kind: _Type) -> NDArray[np.float32]:
    """Steps that fp16 has exactly, so that they mean the same in a graph of half precision."""
    wanted = np.maximum(np.asarray(largest) / kind.largest, _LEAST_SCALE)
    return np.asarray(wanted.astype(np.float16).astype(np.float32))


def _round(values: NDArray[np.float32], kind: _Type) -> NDArray[Any]:
    """To the nearest number of the type; what lies beyond the largest becomes the largest."""
    clipped = np.clip(values, -kind.largest, kind.largest)
    return np.asarray((np.rint(clipped) if kind.element == TensorProto.INT8 else clipped).astype(kind.dtype))


def _zeros(edited: GraphEditor, name: str, scales: NDArray[np.float32], kind: _Type) -> str:
    return _constant(edited, name, np.zeros(scales.shape, kind.dtype), kind)


def _constant(edited: GraphEditor, name: str, values: NDArray[Any], kind: _Type) -> str:
    tensor = numpy_helper.from_array(np.ascontiguousarray(values).view(np.int8), name)
    tensor.data_type = kind.element
    return edited.add(tensor)
