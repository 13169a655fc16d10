"""Weights put back into a plan that was built without them: from the bundle's own verified bytes, in memory.

Such a plan lies in the cache with the graph that it was built from, without its large weights, and with a recipe that
says where in the tower's files each of them is and how it was stored anew. So a tower's weights lie on the disk once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...errors import EngineCacheError
from ..model import TowerModel

REFIT_GRAPH: Final = "refit.onnx"
RECIPE: Final = "refit.json"
"""Files of an engine that takes its weights from the bundle."""

_SOURCES: Final[Mapping[str, np.dtype[Any]]] = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16)}
_TARGETS: Final = (*_SOURCES, "bfloat16")


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """Where one weight of a graph lies in its tower's files.

    Attributes:
        name: Its name in the graph that the plan was built from.
        file: The file of weights, by the name that the tower's graph gives it; empty for the tower's graph itself.
        offset: First byte.
        dtype: float32 or float16, as it is stored.
        shape: Its shape there.
        order: The axes as the plan's graph has them.
        target: float32, float16 or bfloat16, as the plan's graph has it.
    """

    name: str
    file: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Refit:
    """What a plan without weights is given back.

    Attributes:
        graph: The graph that it was built from.
        weights: Name → contiguous array of each weight that is not in the graph.
    """

    graph: bytes
    weights: Mapping[str, NDArray[Any]]


def recipe_json(weights: Sequence[StoredWeight]) -> bytes:
    """The text of a recipe."""
    return json.dumps([asdict(weight) for weight in weights]).encode()


def read_refit(graph: bytes, recipe: bytes, model: TowerModel) -> Refit:
    """Take the weights that a recipe names from the tower's bytes.

    Args:
        graph: The graph that the plan was built from, verified.
        recipe: What `recipe_json` made, verified.
        model: The tower, verified by its bundle.

    Raises:
        EngineCacheError: The recipe is none, or is not for this tower.
    """
    try:
        listed = [_parse(document) for document in json.loads(recipe)]
        return Refit(graph, {weight.name: restore(weight, model) for weight in listed})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EngineCacheError(
            "The engine's weights are not where its recipe says, so it was not opened. Run `haiku-edge engines "
            "rebuild`."
        ) from error


def restore(weight: StoredWeight, model: TowerModel) -> NDArray[Any]:
    """A weight as the plan's graph has it, bfloat16 as uint16 of the same bits; ValueError or KeyError if it is not."""
    source = model.weights[weight.file] if weight.file else model.graph
    flat = np.frombuffer(source, _SOURCES[weight.dtype], prod(weight.shape), weight.offset)
    array = flat.reshape(weight.shape).transpose(weight.order)
    if weight.target == "bfloat16":
        return _to_bfloat16(np.ascontiguousarray(array, np.float32))
    return np.ascontiguousarray(array, _SOURCES[weight.target])


def refit_engine(library: ModuleType, engine: Any, logger: Any, refit: Refit) -> str:
    """Give an engine its weights.

    Args:
        library: TensorRT's module.
        engine: The engine, without weights; nothing runs on it yet.
        logger: TensorRT's logger.
        refit: The weights; they are not needed afterwards.

    Returns:
        Why it has not all of them; empty where it has.
    """
    refitter = library.Refitter(engine, logger)
    parser = library.OnnxParserRefitter(refitter, logger)
    loaded = parser.load_model_proto(refit.graph) and all(
        parser.load_initializer(name, array.ctypes.data, array.nbytes) for name, array in refit.weights.items()
    )
    if not (loaded and parser.refit_model_proto()):
        refusals = [parser.get_error(number) for number in range(parser.num_errors)]
        return "; ".join(refusal.desc() for refusal in refusals) or "its graph does not fit"
    missing = refitter.get_missing_weights()
    if missing:
        return f"{len(missing)} weights are missing, {missing[0]!r} first"
    return "" if refitter.refit_cuda_engine() else "they were refused"


def _parse(document: dict[str, Any]) -> StoredWeight:
    """ValueError, TypeError or KeyError where it is no entry of a recipe."""
    weight = StoredWeight(**{**document, "shape": tuple(document["shape"]), "order": tuple(document["order"])})
    if weight.dtype not in _SOURCES or weight.target not in _TARGETS or weight.offset < 0 or min(weight.shape) < 0:
        raise ValueError("not a stored weight")
    return weight


def _to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounded to the nearest, ties to even; the run time has no library that knows the type."""
    bits = array.view(np.uint32)
    return np.asarray(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16))
