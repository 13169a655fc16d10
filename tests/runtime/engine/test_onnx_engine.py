"""The ONNX Runtime engine computes what the graph says, and refuses what does not fit it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine import choose_engine, survey_devices
from haiku_edge.runtime.errors import BundleContentError, DeviceUnavailableError, EngineError, UsageError


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
    assert np.allclose(choose_engine(_tower(), device="cpu")(tiles=tiles), expected, atol=1e-6)


def test_a_tile_embeds_the_same_in_any_batch() -> None:
    engine, tiles = choose_engine(_tower(), device="cpu"), _tiles(9)
    one_by_one = np.concatenate([engine(tiles=tiles[i : i + 1]) for i in range(9)])
    assert np.allclose(engine(tiles=tiles), one_by_one, atol=1e-6)


def test_the_spec_tells_dynamic_dimensions_from_fixed_ones() -> None:
    spec = choose_engine(_tower(), device="cpu").spec
    assert spec.inputs == {"tiles": ("uint8", (None, 8, 8, 3))}
    assert spec.dimension == 4


@pytest.mark.parametrize(
    "wrong", [{"tiles": _tiles(2).astype(np.float32)}, {"tiles": _tiles(2)[:, :4]}, {"images": _tiles(2)}, {}]
)
def test_inputs_that_do_not_fit_are_refused(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(EngineError):
        choose_engine(_tower(), device="cpu")(**wrong)


@pytest.mark.parametrize("model", [b"", b"not a graph", _tower(output="embedding_of_another_name")])
def test_a_graph_that_is_no_tower_is_refused(model: bytes) -> None:
    with pytest.raises(BundleContentError):
        choose_engine(model, device="cpu")


def test_auto_takes_the_best_device_and_says_why() -> None:
    best = next(report for report in survey_devices() if report.usable)
    device = choose_engine(_tower(), device="auto").device
    assert device.kind == best.kind
    assert device.reason
    assert device.requested == "auto"


def test_a_device_asked_for_by_name_never_falls_back() -> None:
    for report in survey_devices():
        if not report.usable:
            with pytest.raises(DeviceUnavailableError, match=report.kind):
                choose_engine(_tower(), device=report.kind)


def test_an_unknown_device_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="tensorrt"):
        choose_engine(_tower(), device="quantum")
