"""Canonical graphs with int8 matrices, for the processor.

Three ways, from the one that keeps most to the one that runs fastest; which of them a tower bears, the gate decides on
the machine at hand. Only products with a constant matrix (and convolutions, statically) are quantised: attention,
normalisation and the projection head stay in fp32.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime import quantization

from haiku_edge.runtime.engine.fingerprint import cpu_threads
from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.engine.onnx import ALONE, open_session, session_options

from .graphs import GraphEditor, inline

Method = Literal["minmax", "percentile", "entropy"]
Target = Literal["onnxruntime", "openvino"]
Batches = Sequence[Mapping[str, NDArray[Any]]]

ALPHA: Final = 0.5
"""Share of the activations' range that equalisation moves into the weights, as in SmoothQuant (2211.10438)."""

_METHODS = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "percentile": quantization.CalibrationMethod.Percentile,
    "entropy": quantization.CalibrationMethod.Entropy,
}
_STEPS = 127
"""Largest entry of a symmetric int8 matrix."""


def quantise_dynamic(model: TowerModel, batches: Batches) -> bytes:
    """Int8 matrices, and activations that are quantised while it runs, one scale a tensor.

    That scale is the whole batch's, so one row would change another: the graph says that each is computed alone.

    Args:
        model: A canonical tower.
        batches: Inputs like those to come, by which equalisation knows the activations; a few are enough.

    Returns:
        The graph, of pure ONNX operators, with its weights inside.
    """
    edited = GraphEditor(equalise(inline(model), batches))
    for product in edited.products():
        _make_integer(edited, product)
    edited.finish().metadata_props.add(key=ALONE, value="1")
    return bytes(edited.model.SerializeToString(deterministic=True))


def quantise_static(
    model: TowerModel, batches: Batches, *, method: Method = "minmax", target: Target = "onnxruntime"
) -> bytes:
    """Int8 matrices, convolutions and activations, with ranges that were measured beforehand: explicit Q/DQ.

    Args:
        model: A canonical tower.
        batches: Real inputs, by which the ranges are measured.
        method: Whole range, 99.999th percentile, or the range that loses least information.
        target: Who runs it. OpenVINO computes other values than ONNX Runtime from quantised convolutions (seen with
            2026.4), so they stay in fp32 for it.

    Returns:
        The graph, of pure ONNX operators, with its weights inside.
    """
    edited = GraphEditor(equalise(inline(model), batches))
    convolutions = edited.convolutions() if target != "openvino" else []
    names = [node.name for node in (*edited.products(), *convolutions)]
    with tempfile.TemporaryDirectory(prefix="haiku-edge-") as folder, _quiet():
        path = Path(folder) / "quantised.onnx"
        quantization.quantize_static(
            edited.model,
            path,
            _Reader(batches),
            op_types_to_quantize=["MatMul", "Conv"],
            nodes_to_quantize=names,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=_METHODS[method],
            extra_options={"WeightSymmetric": True},
        )
        return path.read_bytes()


def compress_weights(model: TowerModel) -> bytes:
    """Int8 matrices, each with the scales of its columns, for OpenVINO.

    It quantises the activations itself, in groups within a row, and computes in int8, so that no row changes another.
    ONNX Runtime takes the graph too, with a kernel that is slower than fp32.

    Args:
        model: A canonical tower.

    Returns:
        The graph, of pure ONNX operators, with its weights inside.
    """
    edited = GraphEditor(inline(model))
    for product in edited.products():
        stored, scale = _quantised(edited.array(product.input[1]))
        matrix = f"{product.name}.matrix"
        names = [edited.constant(f"{matrix}.int8", stored), edited.constant(f"{matrix}.scale", scale)]
        edited.insert_before(product, "DequantizeLinear", names, [matrix], axis=1)
        product.input[1] = matrix
    return bytes(edited.finish().SerializeToString(deterministic=True))


def equalise(model: onnx.ModelProto, batches: Batches, alpha: float = ALPHA) -> onnx.ModelProto:
    """Even out the channels that leave a LayerNormalization, and undo it in the matrices that follow.

    The factors are powers of two, so that not one bit of the fp32 result changes.

    Args:
        model: A graph with its weights inside; changed in place.
        batches: Inputs like those to come.
        alpha: How far: 0 evens out the matrices, 1 the activations.

    Returns:
        The same graph.
    """
    edited = GraphEditor(model)
    followed = [(norm, edited.products_of(norm.output[0])) for norm in edited.nodes("LayerNormalization")]
    followed = [(norm, products) for norm, products in followed if products and len(norm.input) == 3]
    ranges = _channel_ranges(edited.model, [norm for norm, _ in followed], edited, batches)
    for (norm, products), activations in zip(followed, ranges, strict=True):
        matrices = np.max([np.abs(edited.array(product.input[1])).max(axis=1) for product in products], axis=0)
        _equalise_one(edited, norm, products, _factors(activations, matrices, alpha))
    return edited.finish()


def _factors(activations: NDArray[Any], matrices: NDArray[Any], alpha: float) -> NDArray[np.float32]:
    """(channels,) powers of two near activations^α / matrices^(1−α); 1 for a channel that is never used."""
    used = (activations > 0) & (matrices > 0)
    exponent = alpha * np.log2(activations, where=used, out=np.zeros_like(activations))
    exponent -= (1 - alpha) * np.log2(matrices, where=used, out=np.zeros_like(matrices))
    return np.exp2(np.rint(np.where(used, exponent, 0.0))).astype(np.float32)


def _equalise_one(
    edited: GraphEditor, norm: onnx.NodeProto, products: Sequence[onnx.NodeProto], factors: NDArray[np.float32]
) -> None:
    plain = norm.output[0]
    even = f"{plain}.even"
    others = edited.has_consumers(plain, besides=products)
    for position in (1, 2):
        values = edited.array(norm.input[position]) / factors
        norm.input[position] = edited.constant(f"{norm.input[position]}.{even}", values)
    norm.output[0] = even
    for product in products:
        matrix = edited.array(product.input[1]) * factors[:, None]
        product.input[0] = even
        product.input[1] = edited.constant(f"{product.input[1]}.{even}", matrix)
    if others:
        edited.insert_after(norm, "Mul", [even, edited.constant(f"{even}.factors", factors)], [plain])


def _channel_ranges(
    model: onnx.ModelProto, norms: Sequence[onnx.NodeProto], edited: GraphEditor, batches: Batches
) -> list[NDArray[np.float32]]:
    """(channels,) largest absolute value of each channel that leaves each norm, over all batches."""
    session = open_session(_watching(model, norms, edited), session_options(cpu_threads()), {})
    names = [f"range.{number}" for number in range(len(norms))]
    found = [session.run(names, dict(batch)) for batch in batches] if names else []
    return [np.max([ranges[number] for ranges in found], axis=0) for number in range(len(norms))]


def _watching(model: onnx.ModelProto, norms: Sequence[onnx.NodeProto], edited: GraphEditor) -> bytes:
    """The graph with the ranges of those norms as further outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    for number, norm in enumerate(norms):
        _watch(watched.graph, norm.output[0], len(edited.array(norm.input[1])), f"range.{number}")
    return bytes(watched.SerializeToString())


def _watch(graph: onnx.GraphProto, value: str, channels: int, name: str) -> None:
    """Give a graph one more output: the largest absolute value of each channel."""
    shape = numpy_helper.from_array(np.array([-1, channels]), f"{name}.shape")
    axes = numpy_helper.from_array(np.array([0]), f"{name}.axes")
    graph.initializer.extend([shape, axes])
    graph.node.extend(
        [
            onnx.helper.make_node("Abs", [value], [f"{name}.abs"]),
            onnx.helper.make_node("Reshape", [f"{name}.abs", shape.name], [f"{name}.rows"]),
            onnx.helper.make_node("ReduceMax", [f"{name}.rows", axes.name], [name], keepdims=0),
        ]
    )
    graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [channels]))


def _quantised(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A (k, n) matrix as int8, and the scale of each of its n columns."""
    largest = np.abs(matrix).max(axis=0)
    scale = np.where(largest > 0, largest / _STEPS, 1.0).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


def _make_integer(edited: GraphEditor, product: onnx.NodeProto) -> None:
    """Put quantise → integer product → scale in a product's place; ONNX Runtime runs the three as one."""
    value, name = product.input[0], product.name
    stored, scale = _quantised(edited.array(product.input[1]))
    matrix, columns = edited.constant(f"{name}.int8", stored), edited.constant(f"{name}.scale", scale)
    zero = edited.constant(f"{name}.zero", np.zeros_like(scale, dtype=np.int8))
    quantised = [f"{value}.uint8", f"{value}.scale", f"{value}.zero"]
    if not edited.has(quantised[0]):
        edited.insert_before(product, "DynamicQuantizeLinear", [value], quantised)
    edited.insert_before(product, "MatMulInteger", [quantised[0], matrix, quantised[2], zero], [f"{name}.sums"])
    edited.insert_before(product, "Cast", [f"{name}.sums"], [f"{name}.floats"], to=onnx.TensorProto.FLOAT)
    edited.insert_before(product, "Mul", [quantised[1], columns], [f"{name}.scales"])
    edited.insert_before(product, "Mul", [f"{name}.floats", f"{name}.scales"], [product.output[0]])
    edited.remove(product)


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands batches to the calibrator, one at a time."""

    def __init__(self, batches: Batches) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch, or None at the end."""
        batch = next(self._left, None)
        return None if batch is None else dict(batch)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's prints, and its advice to optimise first, off the terminal: canonical graphs are."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
