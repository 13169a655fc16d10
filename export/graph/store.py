"""A traced tower on disk: weights inside the graph or in a file beside it, stored in single or in half precision."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from .convert import serialise, strip

Storage = Literal["fp32", "fp16"]

INLINE_BELOW = 256 << 20
"""Bytes of weights up to which they stay inside the graph's file. One protobuf holds at most 2 GB, and ONNX Runtime
opens a graph of 1.2 GB five times faster, and with 1.2 GB less memory, where the weights lie beside it."""

_LEAST_OUTSIDE = 1024
_ALIGNMENT = 4096
"""A page, so that a tensor can be mapped where it lies."""

_LEAST_HALVED = 4096
"""Entries from which a matrix is stored as fp16; smaller ones save nothing."""


@dataclass(frozen=True, slots=True)
class GraphFiles:
    """A written graph.

    Attributes:
        graph: The ONNX file.
        weights: Files beside it; the graph refers to them by their names.
        storage: How its matrices are stored.
    """

    graph: Path
    weights: tuple[Path, ...]
    storage: Storage

    def read_weights(self) -> dict[str, bytes]:
        """Name → bytes of each file of weights, as `plain_engine` takes them."""
        return {path.name: path.read_bytes() for path in self.weights}


def write_graph(
    tower: nn.Module,
    traced: ir.Model,
    folder: Path,
    name: str,
    *,
    storage: Storage = "fp32",
    inline_below: int = INLINE_BELOW,
) -> GraphFiles:
    """Write a traced tower.

    Args:
        tower: The tower; its buffers (resizing, smoothing, rotation) are arithmetic, not weights, and stay fp32.
        traced: What `trace_tower` made of it; it is used up.
        folder: Where to write.
        name: Name of the files: `<name>.onnx` and, for large towers, `<name>.weights`.
        storage: fp16 halves the matrices' bytes; the graph casts them back, so all arithmetic is fp32.
        inline_below: Bytes of weights from which they go beside the graph; 0 puts them there always.

    Raises:
        OSError: The files can't be written.
    """
    if storage == "fp16":
        _halve(traced, [buffer.numpy() for buffer in tower.buffers() if buffer.is_floating_point()])
    graph = folder / f"{name}.onnx"
    if sum(tensor.nbytes for _, _, tensor in _constants(traced)) < inline_below:
        _write(graph, serialise(traced))
        return GraphFiles(graph, (), storage)
    weights = folder / f"{name}.weights"
    _move_out(traced, weights)
    model = strip(ir.to_proto(traced))
    _write(graph, model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(graph), full_check=True)
    return GraphFiles(graph, (weights,), storage)


def halve_graph(graph: bytes, kept: Sequence[NDArray[np.float32]]) -> bytes:
    """Store the matrices of a graph as fp16, as `write_graph` does; its weights lie inside it.

    Args:
        graph: Serialised ONNX.
        kept: Matrices that stay fp32.
    """
    model = ir.from_proto(onnx.load_from_string(graph))
    _halve(model, kept)
    return serialise(model)


def _constants(traced: ir.Model) -> Iterator[tuple[str, ir.Value, ir.TensorProtocol]]:
    for name, value in traced.graph.initializers.items():
        if value.const_value is not None:
            yield name, value, value.const_value


def _halve(traced: ir.Model, kept: Sequence[NDArray[np.float32]]) -> None:
    """Replace each large matrix by its fp16 form and a Cast to fp32."""
    casts = []
    for name, value, tensor in list(_constants(traced)):
        if tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) < 2 or tensor.size < _LEAST_HALVED:
            continue
        matrix = tensor.numpy()
        if any(_same(matrix, buffer) for buffer in kept) or np.abs(matrix).max() > np.finfo(np.float16).max:
            continue
        stored = ir.Value(name=f"{name}.fp16", const_value=ir.Tensor(matrix.astype(np.float16)))
        cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{name}.cast")
        cast.outputs[0].name = f"{name}.fp32"
        value.replace_all_uses_with(cast.outputs[0])
        del traced.graph.initializers[name]
        traced.graph.initializers[f"{name}.fp16"] = stored
        casts.append(cast)
    traced.graph.insert_before(traced.graph[0], casts)


def _same(matrix: NDArray[np.float32], buffer: NDArray[np.float32]) -> bool:
    """Whether a matrix of the graph is a buffer of the tower, or its transpose, which the exporter folds."""
    return any(matrix.shape == form.shape and np.array_equal(matrix, form) for form in (buffer, buffer.T))


def _move_out(traced: ir.Model, weights: Path) -> None:
    """Write the large constants to a file one by one, and let the graph refer to them."""
    with weights.open("xb") as file:
        for name, value, tensor in _constants(traced):
            if tensor.nbytes < _LEAST_OUTSIDE:
                continue
            file.write(bytes(-file.tell() % _ALIGNMENT))
            offset = file.tell()
            file.write(tensor.tobytes())
            value.const_value = ir.ExternalTensor(
                weights.name,
                offset,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=name,
                base_dir=weights.parent,
            )
        file.flush()
        os.fsync(file.fileno())


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
