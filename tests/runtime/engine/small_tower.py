"""A tower small enough for a test, with everything that engines treat apart: convolution, norms, products, a head."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine import DeviceInfo
from haiku_edge.runtime.engine.model import TowerModel

WIDTH = 64
TOKENS = 16


def device(threads: int = 2, kind: str = "cpu", precision: str = "fp32") -> DeviceInfo:
    """Where a test's engine runs."""
    return DeviceInfo(kind, kind, "a test's", "this machine's", threads, "asked for", precision)


def tiles(count: int, seed: int = 0) -> np.ndarray:
    """(count, 32, 32, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def _constants() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)

    def drawn(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    found: dict[str, np.ndarray] = {
        "patches": drawn(WIDTH, 3, 8, 8),
        "patches_bias": drawn(WIDTH),
        "rise": drawn(WIDTH, 2 * WIDTH),
        "fall": drawn(2 * WIDTH, WIDTH),
        "again": drawn(WIDTH, WIDTH),
        "head": drawn(WIDTH, 24),
        "head_bias": drawn(24),
        "scale": np.array(1 / 127.5, dtype=np.float32),
        "one": np.array(1, dtype=np.float32),
        "cells": np.array([0, WIDTH, TOKENS]),
        "first": np.array([1]),
    }
    for norm, width in (("before", WIDTH), ("inside", 2 * WIDTH), ("after", WIDTH)):
        # A few channels ten times as loud: what equalisation is for.
        found[f"{norm}_gain"] = np.where(np.arange(width) % 13 == 0, 10, 1).astype(np.float32) * (1 + drawn(width))
        found[f"{norm}_bias"] = drawn(width)
    return found


def model(weights: str | None = None) -> TowerModel:
    """The tower; with a name, its larger constants lie in a file of that name."""
    nodes = [
        helper.make_node("Transpose", ["tiles"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["bytes", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["image"]),
        helper.make_node("Conv", ["image", "patches", "patches_bias"], ["cut"], strides=[8, 8]),
        helper.make_node("Reshape", ["cut", "cells"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["tokens", "before_gain", "before_bias"], ["before"], axis=-1),
        helper.make_node("MatMul", ["before", "rise"], ["risen"]),
        helper.make_node("Gelu", ["risen"], ["bent"]),
        helper.make_node("LayerNormalization", ["bent", "inside_gain", "inside_bias"], ["inside"], axis=-1),
        helper.make_node("MatMul", ["inside", "fall"], ["fallen"]),
        helper.make_node("Add", ["tokens", "fallen"], ["sum"]),
        # As in BERT: the norm's output is also what the next layer adds to.
        helper.make_node("LayerNormalization", ["sum", "after_gain", "after_bias"], ["after"], axis=-1),
        helper.make_node("MatMul", ["after", "again"], ["fed"]),
        helper.make_node("Add", ["after", "fed"], ["whole"]),
        helper.make_node("ReduceMean", ["whole", "first"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "head", "head_bias"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["vector"], axis=-1, p=2),
    ]
    inputs = [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", 32, 32, 3])]
    outputs = [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 24])]
    constants = [numpy_helper.from_array(values, name) for name, values in _constants().items()]
    content = _move_out(constants, weights) if weights else {}
    graph = helper.make_graph(nodes, "tower", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if not weights:
        onnx.checker.check_model(made, full_check=True)
    return TowerModel("he", "0" * 64, made.SerializeToString(), content)


def _move_out(constants: list[onnx.TensorProto], location: str) -> dict[str, bytes]:
    content = b""
    for tensor in constants:
        if len(tensor.raw_data) >= 1024:
            entries = {"location": location, "offset": str(len(content)), "length": str(len(tensor.raw_data))}
            content += tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=value)
    return {location: content}


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Cosine of each row with the other's."""
    return np.asarray(np.sum(one * other, axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))
