"""A tower in half precision gives the embeddings of the tower in single, and loses precision only where it may."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from haiku_edge.export.engines.variants import to_half
from haiku_edge.export.engines.weights import read_tensors
from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import BundleContentError, EngineBuildError

from .towers import TOWERS, WIDTH, doubling, embedded_tower, golden, least_cosine, tiny

N = helper.make_node
HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def run(model: TowerModel, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Compute as the graph says, with no rewriting by ONNX Runtime."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    if model.weights:
        contents = list(model.weights.values())
        options.add_external_initializers_from_files_in_memory(list(model.weights), contents, [*map(len, contents)])
    session = ort.InferenceSession(model.graph, options, providers=["CPUExecutionProvider"])
    (vectors,) = session.run(["vector"], inputs)
    return np.asarray(vectors)


def element_types(model: TowerModel) -> dict[str, int]:
    """Name → element type of every value, as ONNX itself infers them; it refuses operands that do not fit."""
    inferred = shape_inference.infer_shapes(onnx.load_from_string(model.graph), check_type=True, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info, *inferred.output)}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def rounded_to_bf16(model: TowerModel) -> TowerModel:
    """The same graph in single precision, each bf16 value rounded to bf16: what a GPU computes, for a processor."""
    types = element_types(model)
    proto, arrays = read_tensors(model)
    nodes = []
    for node in proto.graph.node:
        rounded = [name for name in node.output if types[name] == TensorProto.BFLOAT16]
        if node.op_type == "Cast" and rounded:
            node.attribute[0].i = TensorProto.FLOAT
        node.output[:] = [f"{name}.raw" if name in rounded else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            nodes += [N("Cast", [f"{name}.raw"], [f"{name}.cut"], to=16), N("Cast", [f"{name}.cut"], [name], to=1)]
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(nodes)
    singles = {n: a.astype(np.float32) if types[n] == TensorProto.BFLOAT16 else a for n, a in arrays.items()}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in singles.items())
    return TowerModel(model.tower, model.digest, proto.SerializeToString())


@pytest.mark.parametrize("tower", TOWERS)
def test_fp16_gives_the_embeddings_of_fp32(tower: str) -> None:
    inputs, want = golden(tower)
    vectors = run(to_half(embedded_tower(tower), "fp16"), inputs)
    assert vectors.dtype == np.float32
    assert least_cosine(vectors, want) > 0.99999


@pytest.mark.parametrize("tower", TOWERS)
def test_bf16_gives_the_embeddings_of_fp32(tower: str) -> None:
    inputs, want = golden(tower)
    vectors = run(rounded_to_bf16(to_half(embedded_tower(tower), "bf16")), inputs)
    assert np.abs(vectors - want).max() > 0
    assert least_cosine(vectors, want) > 0.999


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("tower", TOWERS)
def test_products_are_in_half_and_what_needs_it_in_single(tower: str, precision: str) -> None:
    model = to_half(embedded_tower(tower), precision)  # type: ignore[arg-type]
    types, nodes = element_types(model), onnx.load_from_string(model.graph).graph.node
    products = [types[node.output[0]] for node in nodes if node.op_type in ("MatMul", "Conv")]
    averages = {"he": 2, "mif": 2, "text": 0}[tower]
    assert products.count(HALVES[precision]) == len(products) - averages
    assert {types[node.output[0]] for node in nodes if node.op_type == "Gelu"} == {HALVES[precision]}
    sensitive = ("Softmax", "LayerNormalization", "ReduceSum", "ReduceMean", "Sqrt", "Gemm")
    found = [types[name] for node in nodes if node.op_type in sensitive for name in (node.input[0], node.output[0])]
    assert len(found) > 10 and set(found) == {TensorProto.FLOAT}


@pytest.mark.parametrize("tower", TOWERS)
def test_every_weight_is_there_once_and_rounded(tower: str) -> None:
    model = embedded_tower(tower)
    _, before = read_tensors(model)
    _, after = read_tensors(to_half(model, "fp16"))
    kinds = [array.dtype for array in after.values()]
    assert kinds.count(np.dtype(np.float16)) > 20
    for name, array in after.items():
        source = before.get(name.removesuffix(".half"))
        if source is not None and name.endswith(".half"):
            assert np.array_equal(array, source.astype(np.float16))
    matrices = [name for name, array in after.items() if array.size > 1]
    assert len({name.removesuffix(".half") for name in matrices}) == len(matrices)
    halved = sum(a.nbytes for a in after.values()) / sum(a.nbytes for a in before.values())
    assert halved < 0.65


def test_the_same_graph_comes_out_each_time_and_the_tower_is_not_changed() -> None:
    model = embedded_tower("text")
    graph = bytes(bytearray(model.graph))
    assert to_half(model, "fp16") == to_half(model, "fp16")
    assert model.graph == graph
    assert to_half(model, "fp16").digest == model.digest


def test_weights_stored_as_fp16_are_used_as_they_are() -> None:
    stored = np.random.default_rng(2).normal(size=(WIDTH, WIDTH)).astype(np.float16)
    nodes = [
        N("Cast", ["w.fp16"], ["w.fp32"], to=TensorProto.FLOAT, name="widen"),
        N("Transpose", ["w.fp32"], ["w.t"], perm=[1, 0], name="turn"),
        N("MatMul", ["tiles", "w.t"], ["vector"], name="product"),
    ]
    model = to_half(tiny(nodes, {"w.fp16": stored}), "fp16")
    _, arrays = read_tensors(model)
    (array,) = arrays.values()
    assert array.dtype == np.float16 and np.array_equal(array, stored.T)
    tiles = np.random.default_rng(3).normal(size=(2, WIDTH)).astype(np.float32)
    assert np.allclose(run(model, {"tiles": tiles}), tiles @ stored.T.astype(np.float32), atol=2e-2)


def test_weights_beside_the_graph_give_the_same_variant() -> None:
    product = N("MatMul", ["tiles", "w"], ["vector"], name="product")
    weights = np.random.default_rng(4).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    inside = tiny([product], {"w": weights})
    proto = onnx.load_from_string(inside.graph)
    (tensor,) = proto.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "he.weights"), ("offset", "16"), ("length", str(weights.nbytes))):
        tensor.external_data.add(key=key, value=value)
    beside = TowerModel("he", inside.digest, proto.SerializeToString(), {"he.weights": bytes(16) + weights.tobytes()})
    assert to_half(beside, "fp16") == to_half(inside, "fp16")
    cut_short = TowerModel("he", inside.digest, beside.graph, {"he.weights": bytes(200)})
    with pytest.raises(BundleContentError, match="not all there"):
        to_half(cut_short, "fp16")


def test_a_mask_beyond_half_precision_still_masks() -> None:
    """Scores + (mask − 1) · 1e9: in fp16 that were infinite, and 0 · ∞ not a number."""
    nodes = [
        N("MatMul", ["tiles", "w"], ["scores"], name="scores"),
        N("Greater", ["tiles", "zero"], ["kept"], name="kept"),
        N("Where", ["kept", "zero", "huge"], ["bias"], name="mask"),
        N("Add", ["scores", "bias"], ["masked"], name="masked"),
        N("Softmax", ["masked"], ["vector"], axis=-1, name="softmax"),
    ]
    constants = {**doubling(), "zero": np.float32(0), "huge": np.float32(-1e9)}
    tiles = np.where(np.arange(WIDTH) < 3, 1.0, -1.0).astype(np.float32)[None]
    vector = run(to_half(tiny(nodes, constants), "fp16"), {"tiles": tiles})
    assert np.allclose(vector, np.where(tiles > 0, 1 / 3, 0), atol=1e-3)


def test_an_output_in_half_is_given_in_single() -> None:
    model = to_half(tiny([N("MatMul", ["tiles", "w"], ["vector"], name="product")], doubling()), "fp16")
    types = element_types(model)
    assert types["vector"] == TensorProto.FLOAT and TensorProto.FLOAT16 in types.values()


def test_a_graph_that_branches_is_refused_by_name() -> None:
    empty = helper.make_graph([], "empty", [], [])
    node = N("If", ["flag"], ["vector"], name="the_branch", then_branch=empty, else_branch=empty)
    with pytest.raises(EngineBuildError, match=r"the_branch.*If"):
        to_half(tiny([node], {"flag": np.array(True)}), "fp16")


def test_neither_torch_nor_a_builder_is_imported_to_build_and_nothing_to_know_the_shapes() -> None:
    code = (
        "import sys, haiku_edge.export.engines.regimes\n"
        "print('onnx' in sys.modules)\n"
        "import haiku_edge.export.engines.variants, haiku_edge.export.engines.build_tensorrt\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('torch', 'tensorrt', 'tensorrt_rtx', "
        "'tensorrt_rtx_bindings', 'cuda', 'transformers')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.split("\n")[:2] == ["False", "[]"]
