"""Int8 variants: equalisation changes nothing, and what is quantised is what another way of computing says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from onnxruntime import quantization

from haiku_edge.export.engines.graphs import inline
from haiku_edge.export.engines.quantise import compress_weights, equalise, quantise_dynamic, quantise_static
from haiku_edge.runtime.engine.onnx import OnnxEngine, session_options
from haiku_edge.runtime.engine.openvino import OpenVinoEngine, openvino_available
from haiku_edge.runtime.errors import BundleContentError
from tests.runtime.engine import small_tower

TILES = small_tower.tiles(6)
BATCHES = [{"tiles": small_tower.tiles(1, seed)} for seed in range(10, 14)]
PRODUCTS = ("rise", "fall", "again")


def embed(graph: bytes, tiles: np.ndarray = TILES) -> np.ndarray:
    return OnnxEngine(graph, small_tower.device())(tiles=tiles)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(graph: bytes) -> list[str]:
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    return [node.op_type for node in model.graph.node]


def embed_as_written(graph: bytes) -> np.ndarray:
    """ONNX Runtime, kept from replacing nodes by others that round."""
    options = session_options(2)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"tiles": TILES})[0])


FP32 = embed(small_tower.model().graph)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8])
def test_equalisation_changes_no_bit_of_the_fp32_result(alpha: float) -> None:
    model = equalise(inline(small_tower.model()), BATCHES, alpha)
    assert np.array_equal(embed(model.SerializeToString()), FP32)


def test_equalisation_evens_out_what_the_norms_give() -> None:
    """The loud channels are ten times as loud; half of that, in powers, is to go into the matrix."""
    plain, even = inline(small_tower.model()), equalise(inline(small_tower.model()), BATCHES)
    gains = [constants(plain)["inside_gain"]]
    norm = next(node for node in even.graph.node if node.op_type == "LayerNormalization" and node.input[0] == "bent")
    gains.append(constants(even)[norm.input[1]])
    loud = np.arange(2 * small_tower.WIDTH) % 13 == 0
    ratios = [np.abs(gain)[loud].mean() / np.abs(gain)[~loud].mean() for gain in gains]
    assert ratios[0] == pytest.approx(10, rel=0.1)
    assert 2 < ratios[1] < 5


def test_every_product_is_quantised_and_nothing_else() -> None:
    dynamic = operators(quantise_dynamic(small_tower.model(), BATCHES))
    assert (dynamic.count("MatMulInteger"), dynamic.count("MatMul")) == (3, 0)
    assert (dynamic.count("Conv"), dynamic.count("Gemm")) == (1, 1)
    compressed = operators(compress_weights(small_tower.model()))
    assert (compressed.count("DequantizeLinear"), compressed.count("QuantizeLinear")) == (3, 0)


def test_matrices_are_quantised_as_onnx_runtimes_own_quantiser_does_it(tmp_path: Path) -> None:
    """It quantises the head as well, so that the vectors are only near."""
    even = equalise(inline(small_tower.model()), BATCHES)
    options = {"MatMulConstBOnly": True, "WeightSymmetric": True}
    quantization.quantize_dynamic(even, tmp_path / "theirs.onnx", ["MatMul"], per_channel=True, extra_options=options)
    graphs = [quantise_dynamic(small_tower.model(), BATCHES), (tmp_path / "theirs.onnx").read_bytes()]
    ours, theirs = (constants(onnx.load_from_string(graph)) for graph in graphs)
    matrices = [value for name, value in ours.items() if name.endswith(".int8")]
    scales = [value for name, value in ours.items() if name.endswith(".scale")]
    assert len(matrices) == len(scales) == len(PRODUCTS)
    for product, matrix, scale in zip(PRODUCTS, matrices, scales, strict=True):
        (name,) = (n for n in theirs if n.startswith(f"{product}.") and n.endswith("_quantized"))
        assert np.array_equal(matrix, theirs[name])
        assert np.allclose(scale, theirs[name.replace("_quantized", "_scale")], rtol=1e-6)
    assert (
        small_tower.cosines(embed(graphs[0]), np.concatenate([embed(graphs[1], t[None]) for t in TILES])).min() > 0.999
    )
    assert 1e-4 < np.abs(embed(graphs[0]) - FP32).max() < 0.05


def test_a_tile_embeds_the_same_in_any_batch_though_scales_are_the_batchs() -> None:
    ours = quantise_dynamic(small_tower.model(), BATCHES)
    loud = np.concatenate([TILES, np.full((1, 32, 32, 3), 255, np.uint8), np.zeros((1, 32, 32, 3), np.uint8)])
    assert np.array_equal(embed(ours, loud)[: len(TILES)], embed(ours))


def test_compressed_matrices_are_the_rounded_ones() -> None:
    model = onnx.load_from_string(small_tower.model().graph)
    for tensor in model.graph.initializer:
        if tensor.name in PRODUCTS:
            matrix = numpy_helper.to_array(tensor).astype(np.float64)
            step = np.abs(matrix).max(axis=0) / 127
            rounded = (np.round(matrix / step) * step).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    expected = embed(model.SerializeToString())
    compressed = embed_as_written(compress_weights(small_tower.model()))
    assert np.allclose(compressed, expected, atol=1e-5)
    assert 1e-5 < np.abs(compressed - FP32).max() < 0.05


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_static_quantisation_stays_near_fp32_and_says_nothing(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    graph = quantise_static(small_tower.model(), BATCHES, method=method)  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""
    assert small_tower.cosines(embed(graph), FP32).min() > 0.99
    assert not np.allclose(embed(graph), FP32, atol=1e-5)


def test_calibrated_ranges_are_those_of_the_tiles() -> None:
    """Tiles of one grey have a narrower range than all tiles: the scale of the image says so."""
    grey = [{"tiles": np.full((1, 32, 32, 3), 160, np.uint8)}]
    for batches, reach in ((grey, 160 / 127.5 - 1), (BATCHES, 1.0)):
        model = onnx.load_from_string(quantise_static(small_tower.model(), batches))
        found = constants(model)
        (quantise,) = (n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")
        scale, zero = found[quantise.input[1]], found[quantise.input[2]]
        assert scale * (255 - float(zero)) == pytest.approx(reach, rel=0.02)


def test_what_each_target_cannot_take_is_left_out() -> None:
    graphs = {target: onnx.load_from_string(_static(target)) for target in ("onnxruntime", "openvino")}
    convolved = {
        target: next(node for node in model.graph.node if node.op_type == "Conv").input[0]
        for target, model in graphs.items()
    }
    assert convolved["openvino"] == "image"
    assert convolved["onnxruntime"] != "image"
    assert "patches_bias" in constants(graphs["openvino"])
    assert "patches_bias" not in constants(graphs["onnxruntime"])


def _static(target: str) -> bytes:
    return quantise_static(small_tower.model(), BATCHES, target=target)  # type: ignore[arg-type]


@pytest.mark.skipif(openvino_available() is None, reason="the extra openvino is not installed")
def test_openvino_computes_what_onnx_runtime_computes_from_static_quantisation() -> None:
    graph = _static("openvino")
    device = small_tower.device(precision="int8-static")
    assert small_tower.cosines(OpenVinoEngine(graph, device)(tiles=TILES), embed(graph)).min() > 0.9999


@pytest.mark.skipif(openvino_available() is None, reason="the extra openvino is not installed")
def test_openvino_quantises_activations_of_compressed_weights_and_no_others() -> None:
    graph, device = compress_weights(small_tower.model()), small_tower.device(precision="int8-weights")
    vectors = OpenVinoEngine(graph, device)(tiles=TILES)
    plain = OpenVinoEngine(graph, small_tower.device())(tiles=TILES)
    assert np.allclose(plain, embed_as_written(graph), atol=1e-5)
    assert not np.allclose(vectors, plain, atol=1e-5)
    assert small_tower.cosines(vectors, FP32).min() > 0.99


def test_weights_beside_the_graph_come_in_and_halves_are_widened() -> None:
    beside = small_tower.model("he.weights")
    assert embed(inline(beside).SerializeToString()) == pytest.approx(FP32, abs=1e-7)
    assert compress_weights(beside) == compress_weights(small_tower.model())
    with pytest.raises(BundleContentError):
        inline(type(beside)(beside.tower, beside.digest, beside.graph, {}))


def test_quantising_twice_gives_the_same_bytes() -> None:
    assert quantise_dynamic(small_tower.model(), BATCHES) == quantise_dynamic(small_tower.model(), BATCHES)
