"""Weights beside a graph come from verified bytes, and a graph that asks for any other file is not opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.engine.external import external_locations
from haiku_edge.runtime.engine.model import read_weights
from haiku_edge.runtime.errors import BundleContentError

WEIGHTS = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
TILES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def tensor(location: str, **entries: str) -> onnx.TensorProto:
    """A matrix that lies in a file."""
    outside = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape)
    outside.data_location = TensorProto.EXTERNAL
    given = {"location": location, "offset": "8", "length": str(WEIGHTS.nbytes), **entries}
    for key, value in given.items():
        outside.external_data.add(key=key, value=value)
    return outside


def model(weights: onnx.TensorProto) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["tiles"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["vector"], axis=-1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 4])],
        [weights, numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


FILE = bytes(8) + WEIGHTS.tobytes()


def expected() -> np.ndarray:
    raw = TILES.astype(np.float64).mean(axis=(1, 2)) @ WEIGHTS
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True))


def test_weights_given_as_bytes_are_the_ones_computed_with() -> None:
    engine = plain_engine(model(tensor("he.weights")).SerializeToString(), weights={"he.weights": FILE})
    assert np.allclose(engine(tiles=TILES), expected(), atol=1e-6)


def test_a_file_of_that_name_where_the_process_runs_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime would take it: opened from bytes, it looks for weights in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "he.weights").write_bytes(bytes(8) + (WEIGHTS[::-1] * 7).tobytes())
    graph = model(tensor("he.weights")).SerializeToString()
    with pytest.raises(BundleContentError, match=r"he\.weights"):
        plain_engine(graph)
    engine = plain_engine(graph, weights={"he.weights": FILE})
    assert np.allclose(engine(tiles=TILES), expected(), atol=1e-6)


@pytest.mark.parametrize(
    "location",
    [
        "../he.weights",
        "/etc/passwd",
        "./he.weights",
        "sub/he.weights",
        "",
        "he.weights\0",
        "*/_ORT_MEM_ADDR_/*",
        "file:///etc/passwd",
    ],
)
def test_a_graph_that_asks_for_another_place_is_refused(location: str) -> None:
    graph = model(tensor(location)).SerializeToString()
    with pytest.raises(BundleContentError, match="does not name as its own"):
        plain_engine(graph, weights={"he.weights": FILE})


def test_a_place_hidden_in_a_branch_a_function_or_an_attribute_is_found() -> None:
    branch = helper.make_graph([], "branch", [], [], [tensor("in a branch")])
    inner = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    constant = helper.make_node("Constant", [], ["z"], value=tensor("in a constant"))
    held = model(tensor("plain"))
    held.graph.node.extend([inner, constant])
    held.functions.append(
        helper.make_function("f", "F", [], ["z"], [constant], [helper.make_opsetid("", 20)], attributes=[])
    )
    sparse = held.graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor("sparse values"))
    sparse.indices.CopyFrom(tensor("sparse places"))
    assert external_locations(held.SerializeToString()) == {
        "plain",
        "in a branch",
        "in a constant",
        "sparse values",
        "sparse places",
    }


def test_a_second_location_of_one_tensor_is_seen_too() -> None:
    twice = tensor("he.weights")
    twice.external_data.add(key="location", value="../other")
    with pytest.raises(BundleContentError, match="other"):
        plain_engine(model(twice).SerializeToString(), weights={"he.weights": FILE})


def test_weights_that_are_cut_short_are_refused() -> None:
    with pytest.raises(BundleContentError):
        plain_engine(model(tensor("he.weights")).SerializeToString(), weights={"he.weights": FILE[:-1]})


@pytest.mark.parametrize("offset", ["-8", str(1 << 62), "nothing"])
def test_an_offset_out_of_the_file_is_refused(offset: str) -> None:
    outside = tensor("he.weights")
    next(entry for entry in outside.external_data if entry.key == "offset").value = offset
    with pytest.raises(BundleContentError):
        plain_engine(model(outside).SerializeToString(), weights={"he.weights": FILE})


def test_entries_that_no_exporter_writes_are_refused() -> None:
    with pytest.raises(BundleContentError, match="form that no exporter writes"):
        external_locations(model(tensor("he.weights", basepath="/etc")).SerializeToString())


def test_another_serialisation_with_its_own_references_is_refused() -> None:
    with pytest.raises(BundleContentError):
        external_locations(b"\x18\x00\x00\x00ORTM" + bytes(64))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=64), place=st.integers(0, 400))
def test_damaged_graphs_are_refused_or_read_and_nothing_else(data: bytes, place: int) -> None:
    whole = model(tensor("he.weights")).SerializeToString()
    damaged = whole[:place] + data + whole[place:]
    try:
        found = external_locations(damaged)
    except BundleContentError:
        return
    assert all(isinstance(name, str) for name in found)


class Files:
    """A bundle of two files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def read(self, name: str) -> bytes:
        return self.files[name]


class Tower:
    def __init__(self, file: str, weights: tuple[str, ...]) -> None:
        self.file = file
        self.weights = weights


def test_a_towers_weights_are_found_by_their_name_beside_the_graph() -> None:
    graph = model(tensor("he.weights")).SerializeToString()
    files = Files({"towers/he.onnx": graph, "towers/he.weights": FILE, "other/he.weights": FILE})
    weights = read_weights(files, Tower("towers/he.onnx", ("towers/he.weights",)))
    engine = plain_engine(graph, weights=weights)
    assert np.allclose(engine(tiles=TILES), expected(), atol=1e-6)
    with pytest.raises(BundleContentError, match="beside"):
        read_weights(files, Tower("towers/he.onnx", ("other/he.weights",)))
