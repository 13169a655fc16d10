"""The ONNX Runtime engine computes what the graph says, and refuses what does not fit it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.engine.onnx import ALONE, OnnxEngine, cuda_available
from haiku_edge.runtime.errors import BundleContentError, DeviceUnavailableError, EngineError
from tests.runtime.engine import small_tower


def _tower(output: str = "vector") -> bytes:
    """Mean colour of a tile, times a matrix, L2-normalised: a tower small enough to compute by hand."""
    weights = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    nodes = [
        helper.make_node("Cast", ["tiles"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], [output], axis=-1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _tiles(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_the_engine_computes_what_the_graph_says() -> None:
    tiles = _tiles(5)
    raw = tiles.astype(np.float64).mean(axis=(1, 2)) @ np.arange(1, 13).reshape(3, 4)
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(plain_engine(_tower())(tiles=tiles), expected, atol=1e-6)


def test_a_tile_embeds_the_same_in_any_batch() -> None:
    engine, tiles = plain_engine(_tower()), _tiles(9)
    one_by_one = np.concatenate([engine(tiles=tiles[i : i + 1]) for i in range(9)])
    assert np.allclose(engine(tiles=tiles), one_by_one, atol=1e-6)


def test_the_spec_tells_dynamic_dimensions_from_fixed_ones() -> None:
    spec = plain_engine(_tower()).spec
    assert spec.inputs == {"tiles": ("uint8", (None, 8, 8, 3))}
    assert spec.dimension == 4


@pytest.mark.parametrize(
    "wrong", [{"tiles": _tiles(2).astype(np.float32)}, {"tiles": _tiles(2)[:, :4]}, {"images": _tiles(2)}, {}]
)
def test_inputs_that_do_not_fit_are_refused(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(EngineError):
        plain_engine(_tower())(**wrong)


@pytest.mark.parametrize("model", [b"", b"not a graph", _tower(output="embedding_of_another_name")])
def test_a_graph_that_is_no_tower_is_refused(model: bytes) -> None:
    with pytest.raises(BundleContentError):
        plain_engine(model)


def test_batches_come_back_in_order_and_each_only_when_asked_for() -> None:
    engine, asked = OnnxEngine(small_tower.model().graph, small_tower.device()), []

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for seed in range(3):
            asked.append(seed)
            yield {"tiles": small_tower.tiles(2, seed)}

    found = engine.embed_batches(batches())
    assert not asked
    for seed, vectors in enumerate(found):
        assert asked == list(range(seed + 1))
        assert np.array_equal(vectors, engine(tiles=small_tower.tiles(2, seed)))
    assert len(asked) == 3


def test_vectors_depend_neither_on_threads_nor_on_the_batch() -> None:
    tiles = small_tower.tiles(9)
    engines = [OnnxEngine(small_tower.model().graph, small_tower.device(threads)) for threads in (1, 2, 4)]
    for engine in engines:
        one_by_one = np.concatenate([engine(tiles=tiles[i : i + 1]) for i in range(9)])
        assert np.allclose(one_by_one, engines[0](tiles=tiles), atol=1e-6)


def test_rows_that_would_change_each_other_are_computed_alone() -> None:
    """The graph below subtracts the mean of its whole batch, unless the engine gives it one row at a time."""
    nodes = [
        helper.make_node("Cast", ["tiles"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["float", "mean"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", 3])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    rows = np.array([[0, 3, 6], [100, 130, 160]], dtype=np.uint8)
    together = OnnxEngine(model.SerializeToString(), small_tower.device())(tiles=rows)
    model.metadata_props.add(key=ALONE, value="1")
    alone = OnnxEngine(model.SerializeToString(), small_tower.device())(tiles=rows)
    assert np.array_equal(together, rows - rows.mean(dtype=np.float32))
    assert np.array_equal(alone, [[-3, 0, 3], [-30, 0, 30]])


@pytest.mark.skipif(cuda_available(), reason="this ONNX Runtime has a CUDA provider")
def test_cuda_is_refused_where_it_is_not_and_nothing_else_runs_instead() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"haiku-edge\[gpu\]"):
        OnnxEngine(small_tower.model().graph, small_tower.device(kind="cuda"))
