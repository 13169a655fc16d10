"""Explicit Q/DQ: products in 8 bits and nothing else, rounded as another way of computing says, in a tower of fp16."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from ml_dtypes import float8_e4m3fn
from numpy.typing import NDArray
from onnx import TensorProto

from haiku_edge.export.engines.explicit import measure_ranges, quantise_explicit
from haiku_edge.export.engines.graphs import inline
from haiku_edge.export.engines.variants import to_half
from haiku_edge.export.engines.weights import read_tensors
from haiku_edge.runtime.engine.model import TowerModel
from tests.runtime.engine import small_tower

from .test_half_precision import element_types, run
from .towers import WIDTH, least_cosine, tiny

TILES = {"tiles": small_tower.tiles(6)}
BATCHES = [{"tiles": small_tower.tiles(1, seed)} for seed in range(10, 14)]
KINDS = {"int8": (TensorProto.INT8, 127), "fp8": (TensorProto.FLOAT8E4M3FN, 448)}
PRODUCTS = ("rise", "fall", "again")


def quantised(kind: str) -> TowerModel:
    return quantise_explicit(small_tower.model(), BATCHES, kind)  # type: ignore[arg-type]


def nearest(values: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """To the nearest of all numbers that the type has, found by looking at each of them."""
    if kind == "int8":
        every = np.arange(-127, 128).astype(np.float64)
    else:
        every = np.arange(256, dtype=np.uint8).view(float8_e4m3fn).astype(np.float64)
        every = np.unique(every[np.isfinite(every)])
    return every[np.abs(values.reshape(-1, 1) - every).argmin(axis=1)].reshape(values.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_every_product_of_a_layer_is_in_8_bits_and_nothing_else(kind: str) -> None:
    model = quantised(kind)
    types, nodes = element_types(model), onnx.load_from_string(model.graph).graph.node
    makers = {name: node for node in nodes for name in node.output}
    products = [node for node in nodes if node.op_type == "MatMul"]
    assert len(products) == len(PRODUCTS)
    for product in products:
        sources = [makers[name] for name in product.input]
        assert [source.op_type for source in sources] == ["DequantizeLinear"] * 2
        assert {types[source.input[0]] for source in sources} == {KINDS[kind][0]}
        assert {types[name] for name in (*product.input, *product.output)} == {TensorProto.FLOAT16}
    operators = [node.op_type for node in nodes]
    assert (operators.count("QuantizeLinear"), operators.count("DequantizeLinear")) == (3, 6)
    assert {makers[n.input[0]].op_type for n in nodes if n.op_type == "Conv"}.isdisjoint({"DequantizeLinear"})


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_are_the_nearest_that_8_bits_can_say(kind: str) -> None:
    """The steps are the largest entry of a column over the largest number, and fp16 has them without rounding."""
    model = quantised(kind)
    arrays = read_tensors(model)[1]
    stored = [name for name in arrays if name.endswith(".stored")]
    assert len(stored) == len(PRODUCTS)
    for name in stored:
        steps = arrays[name.replace(".stored", ".scale.half")].astype(np.float64)
        matrix = arrays[name].astype(np.float64) * steps
        largest = np.abs(matrix).max(axis=0)
        assert np.allclose(largest / steps, KINDS[kind][1], rtol=2e-3)
    plain = {p: a for p, a in read_tensors(small_tower.model())[1].items() if p in PRODUCTS}
    assert {a.shape for a in plain.values()} == {arrays[name].shape for name in stored}


@pytest.mark.parametrize("kind", KINDS)
def test_one_product_is_what_rounding_both_operands_gives(kind: str) -> None:
    random = np.random.default_rng(5)
    matrix = (random.normal(size=(WIDTH, WIDTH)) * np.logspace(-2, 1, WIDTH)).astype(np.float32)
    tiles = random.normal(size=(64, WIDTH)).astype(np.float32)
    tower = tiny([onnx.helper.make_node("MatMul", ["tiles", "w"], ["vector"], name="product")], {"w": matrix})
    model = quantise_explicit(tower, [{"tiles": tiles}], kind)  # type: ignore[arg-type]
    most = KINDS[kind][1]
    reach = np.abs(tiles).max() if kind == "fp8" else np.percentile(np.abs(tiles), 99.99)
    step = float(np.float16(reach / most))
    steps = np.float16(np.abs(matrix).max(axis=0) / most).astype(np.float64)
    half = tiles.astype(np.float16).astype(np.float64)
    expected = (nearest(np.clip(half / step, -most, most), kind) * step) @ (
        nearest(np.clip(matrix / steps, -most, most), kind) * steps
    )
    off = np.abs(run(model, {"tiles": tiles}) - expected)
    # Numbers half-way between two steps may go either way.
    assert np.quantile(off / (np.abs(expected) + 1), 0.98) < 3e-3
    assert off.max() < 2 * step * np.abs(matrix).max()
    assert np.abs(expected - tiles @ matrix).max() > 0.02


@pytest.mark.parametrize(("kind", "cosine"), [("int8", 0.998), ("fp8", 0.995)])
def test_the_tower_stays_near_itself_and_within_single_precision_at_its_ends(kind: str, cosine: float) -> None:
    want = run(small_tower.model(), TILES)
    got = run(quantised(kind), TILES)
    assert got.dtype == np.float32
    assert cosine < least_cosine(got, want) < 0.9999999


def test_ranges_are_those_that_the_values_have() -> None:
    tower = small_tower.model()
    found = measure_ranges(inline(tower), ["image", "risen"], [TILES])
    assert found["image"] == pytest.approx(np.abs(TILES["tiles"] / 127.5 - 1).max(), rel=1e-6)
    assert found["risen"] > measure_ranges(inline(tower), ["risen"], [TILES], 99)["risen"] > 0
    assert measure_ranges(inline(tower), [], [TILES]) == {}


def test_averages_of_pixels_are_left_in_single_precision() -> None:
    average = np.full((WIDTH, WIDTH), 1 / WIDTH, np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["tiles", "mean"], ["smooth"], name="smooth"),
        onnx.helper.make_node("MatMul", ["smooth", "w"], ["vector"], name="product"),
    ]
    tower = tiny(nodes, {"mean": average, "w": 2 * np.eye(WIDTH, dtype=np.float32)})
    model = quantise_explicit(tower, [{"tiles": np.ones((2, WIDTH), np.float32)}], "int8")
    types = element_types(model)
    first = next(node for node in onnx.load_from_string(model.graph).graph.node if node.name == "smooth")
    assert types[first.input[0]] == types[first.output[0]] == TensorProto.FLOAT


def test_quantising_twice_gives_the_same_graph() -> None:
    assert quantised("fp8") == quantised("fp8")
    assert quantised("int8").digest == small_tower.model().digest == to_half(small_tower.model(), "fp16").digest
