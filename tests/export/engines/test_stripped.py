"""A plan without weights gets back what it was built from, bit by bit, from the bundle's own bytes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from ml_dtypes import bfloat16
from onnx import TensorProto, helper

from haiku_edge.export.engines.stripped import strip_weights
from haiku_edge.export.engines.variants import to_half
from haiku_edge.export.engines.weights import read_tensors
from haiku_edge.runtime.engine.gpu.refit import Refit, StoredWeight, read_refit, recipe_json, restore
from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import EngineCacheError
from tests.runtime.engine import small_tower

from .towers import TOWERS, WIDTH, embedded_tower, tiny

N = helper.make_node
LARGE = 64


def derived(tower: TowerModel, precision: str) -> TowerModel:
    return tower if precision == "fp32" else to_half(tower, precision)  # type: ignore[arg-type]


def outside(graph: bytes) -> set[str]:
    proto = onnx.load_from_string(graph)
    return {t.name for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", TOWERS)
def test_all_large_weights_come_back_from_the_bundle(name: str, precision: str) -> None:
    tower = embedded_tower(name)
    variant = derived(tower, precision)
    parts = strip_weights(tower, variant)
    refit = read_refit(parts.graph, parts.recipe, tower)
    _, want = read_tensors(variant)
    assert outside(parts.graph) == refit.weights.keys()
    assert {key for key, array in want.items() if array.nbytes >= 1024} == refit.weights.keys()
    for key, array in refit.weights.items():
        assert array.flags.c_contiguous
        assert array.tobytes() == want[key].tobytes()
    whole = sum(array.nbytes for array in want.values())
    assert parts.named > 0.95 * whole
    assert len(parts.graph) + len(parts.recipe) < 0.3 * whole


def test_weights_beside_the_graph_are_found_in_their_file() -> None:
    tower = small_tower.model("he.weights")
    parts = strip_weights(tower, to_half(tower, "fp16"))
    assert {entry["file"] for entry in json.loads(parts.recipe)} == {"he.weights"}
    refit = read_refit(parts.graph, parts.recipe, tower)
    whole = read_tensors(to_half(tower, "fp16"))[1]
    assert all(array.tobytes() == whole[name].tobytes() for name, array in refit.weights.items())


def test_a_weight_that_is_stored_as_fp16_and_transposed_is_found() -> None:
    stored = np.random.default_rng(2).normal(size=(WIDTH, LARGE * WIDTH)).astype(np.float16)
    nodes = [
        N("Cast", ["w.fp16"], ["w.fp32"], to=TensorProto.FLOAT, name="widen"),
        N("Transpose", ["w.fp32"], ["w.t"], perm=[1, 0], name="turn"),
        N("MatMul", ["tiles", "w.fp32"], ["long"], name="out"),
        N("MatMul", ["long", "w.t"], ["vector"], name="back"),
    ]
    tower = tiny(nodes, {"w.fp16": stored})
    for precision, kind in (("fp16", np.float16), ("bf16", bfloat16)):
        parts = strip_weights(tower, derived(tower, precision))
        weights = read_refit(parts.graph, parts.recipe, tower).weights
        expected = {"w.fp32.half": stored, "w.t.half": stored.T}
        assert weights.keys() == expected.keys()
        for name, array in weights.items():
            assert array.tobytes() == np.ascontiguousarray(expected[name]).astype(kind).tobytes()


def test_what_is_not_in_the_bundle_stays_in_the_graph() -> None:
    """As after another tower was exported under the same names."""
    tower, other = embedded_tower("text"), small_tower.model()
    parts = strip_weights(other, to_half(tower, "fp16"))
    assert json.loads(parts.recipe) == []
    assert outside(parts.graph) == set()
    want = read_tensors(to_half(tower, "fp16"))[1]
    got = read_tensors(TowerModel("text", "", parts.graph))[1]
    assert all(np.array_equal(got[name], array) for name, array in want.items())


@pytest.mark.parametrize("value", [1.0, -1.0, 3.14159274, 1e-30, 65504.0, 1 / 3, 0.0, -0.0, 257 / 256, 259 / 256])
def test_rounding_to_bf16_is_that_of_the_library_that_knows_it(value: float) -> None:
    array = np.full(300, value, np.float32) * np.linspace(0.5, 2, 300, dtype=np.float32)
    tower = TowerModel("he", "", array.tobytes())
    weight = StoredWeight("w", "", 0, "float32", (300,), (0,), "bfloat16")
    assert restore(weight, tower).tobytes() == array.astype(bfloat16).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 1 << 40},
        {"offset": -1},
        {"file": "../other"},
        {"dtype": "object"},
        {"target": "float64"},
        {"shape": [-1]},
        {"order": [5]},
        {"shape": "many"},
        {"more": 1},
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_in_words(change: dict[str, object]) -> None:
    tower = TowerModel("he", "", np.ones(300, np.float32).tobytes())
    place = {"file": "", "offset": 0, "dtype": "float32", "shape": [300], "order": [0]}
    entry = {"name": "w", "target": "float16", **place}
    assert read_refit(b"", json.dumps([entry]).encode(), tower).weights["w"].shape == (300,)
    assert read_refit(b"g", recipe_json([]), tower) == Refit(b"g", {})
    for recipe in (json.dumps([entry | change]).encode(), b"{", b"[1]", b"7", b"null"):
        with pytest.raises(EngineCacheError, match="engines rebuild"):
            read_refit(b"", recipe, tower)
