"""Towers to build engines of: the embedded ones with their golden cases, and tiny graphs with one thing in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.engine.model import TowerModel, read_model
from haiku_edge.runtime.inference.golden import GoldenCases

TOWERS = ("he", "text", "mif")
OPSET = 20
WIDTH = 8


@cache
def embedded() -> Bundle:
    return open_bundle()


@cache
def embedded_tower(name: str) -> TowerModel:
    manifest = embedded().manifest
    return read_model(embedded(), {"he": manifest.he, "text": manifest.need_text(), "mif": manifest.need_mif()}[name])


def golden(name: str) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
    """Inputs of a tower, and what it made of them where it was trained."""
    cases = GoldenCases(embedded())
    return cases.inputs(name), cases.vectors(name)


def least_cosine(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(want, axis=1)
    return float(((got * want).sum(axis=1) / lengths).min())


def tiny(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, NDArray[Any]], weights: Mapping[str, bytes] | None = None
) -> TowerModel:
    """A graph from `tiles` float32 (batch, 8) to `vector` float32 (batch, 8)."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", WIDTH]) for n in ("tiles", "vector")]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "tower", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return TowerModel("he", "0" * 64, model.SerializeToString(), dict(weights or {}))


def doubling() -> dict[str, NDArray[Any]]:
    """A learned product, as far as anyone can tell: one whose rows sum to one would be an average of pixels."""
    return {"w": 2 * np.eye(WIDTH, dtype=np.float32)}
