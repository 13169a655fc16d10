"""A recipe for the weights of a derived graph: where they lie in the tower that it was derived from.

With it, a plan that was built without weights gets them back from the bundle at load, bit by bit the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine.gpu.refit import StoredWeight, recipe_json, restore
from haiku_edge.runtime.engine.model import TowerModel

from .weights import read_tensors

_LEAST = 1024
"""Bytes from which a weight is worth leaving out."""

_LOCATION = "bundle"
"""What the graph names as the file of weights; they are handed over in memory, and no file is opened."""

_DTYPES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


@dataclass(frozen=True, slots=True)
class Stripped:
    """What a plan without weights needs to get them back.

    Attributes:
        graph: The derived graph without the weights that the recipe names.
        recipe: Where they lie in the tower's files.
        named: Bytes of weights that the recipe names.
    """

    graph: bytes
    recipe: bytes
    named: int


def strip_weights(tower: TowerModel, derived: TowerModel) -> Stripped:
    """Find the weights of a derived graph in the tower that it came from.

    What is not there as it is, or only transposed and rounded, stays in the graph.

    Args:
        tower: The canonical tower, as the bundle has it.
        derived: What `to_half` made of it, or the tower itself.

    Raises:
        BundleContentError: One of them is no ONNX model, or its weights are not those given.
    """
    proto, arrays = read_tensors(derived)
    stored = _stored(tower)
    found: list[StoredWeight] = []
    for tensor in proto.graph.initializer:
        array = arrays[tensor.name]
        weight = _find(tensor, array, stored, tower) if array.nbytes >= _LEAST else None
        if weight is not None:
            found.append(weight)
            _point_outside(tensor)
        elif tensor.data_location == TensorProto.EXTERNAL:
            _bring_inside(tensor, array)
    named = sum(arrays[weight.name].nbytes for weight in found)
    return Stripped(bytes(proto.SerializeToString(deterministic=True)), recipe_json(found), named)


def _stored(tower: TowerModel) -> dict[str, StoredWeight]:
    """Value → where it lies, for every weight of a tower, also where a node only widens or transposes it."""
    proto, arrays = read_tensors(tower)
    found: dict[str, StoredWeight] = {}
    for tensor in proto.graph.initializer:
        place = _place(tensor, tower) if tensor.data_type in _DTYPES else None
        if place is not None and _DTYPES[tensor.data_type] != "bfloat16":
            shape, dtype = arrays[tensor.name].shape, _DTYPES[tensor.data_type]
            found[tensor.name] = StoredWeight(tensor.name, *place, dtype, shape, tuple(range(len(shape))), dtype)
    for node in proto.graph.node:
        source = found.get(node.input[0]) if len(node.input) == 1 else None
        if source is not None and node.op_type == "Transpose":
            order = [source.order[axis] for axis in _perm(node, len(source.order))]
            found[node.output[0]] = replace(source, order=tuple(order))
        elif source is not None and node.op_type == "Cast":
            found[node.output[0]] = source
    return found


def _place(tensor: Any, tower: TowerModel) -> tuple[str, int] | None:
    """File and first byte of a weight; None where it is not stored as plain bytes."""
    if tensor.data_location == TensorProto.EXTERNAL:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        return entries["location"], int(entries.get("offset", 0))
    offset = tower.graph.find(tensor.raw_data) if len(tensor.raw_data) >= _LEAST else -1
    return None if offset < 0 else ("", offset)


def _perm(node: Any, axes: int) -> list[int]:
    given = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
    return list(range(axes))[::-1] if given is None else given


def _find(tensor: Any, array: NDArray[Any], stored: dict[str, StoredWeight], tower: TowerModel) -> StoredWeight | None:
    """Where a weight comes from; None where what lies there is not bit by bit the same."""
    source = stored.get(tensor.name.removesuffix(".half"))
    if source is None or tensor.data_type not in _DTYPES:
        return None
    weight = replace(source, name=tensor.name, target=_DTYPES[tensor.data_type])
    return weight if restore(weight, tower).tobytes() == np.ascontiguousarray(array).tobytes() else None


def _point_outside(tensor: Any) -> None:
    for field in ("raw_data", "float_data", "int32_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=_LOCATION)


def _bring_inside(tensor: Any, array: NDArray[Any]) -> None:
    element = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(array, element), tensor.name))
