"""Exported graphs compute what torch computes, whatever the batch, and say nothing of the machine."""

from __future__ import annotations

import getpass
import os

import numpy as np
import onnx
import pytest

from haiku_edge.export.graph import GraphMismatchError, check_graph, export_towers
from haiku_edge.export.model import MifConfig, TextConfig, Towers, TowersConfig, build_towers
from haiku_edge.export.tower_graphs import TowerGraphs
from haiku_edge.runtime.engine import plain_engine

CONFIG = TowersConfig(mif=MifConfig(markers=9), text=TextConfig(vocabulary=50))


def ready(seed: int) -> Towers:
    """Towers as they infer."""
    towers = build_towers(CONFIG, seed)
    towers.train(False)
    return towers.for_inference()


@pytest.fixture(scope="module")
def towers() -> Towers:
    return ready(3)


@pytest.fixture(scope="module")
def graphs(towers: Towers) -> TowerGraphs:
    return export_towers(towers)


@pytest.mark.parametrize("count", [1, 5])
def test_he_graph_is_the_torch_tower(towers: Towers, graphs: TowerGraphs, count: int) -> None:
    tiles = np.random.default_rng(count).integers(0, 256, (count, 256, 256, 3), np.uint8)
    assert check_graph("H&E", towers.he, plain_engine(graphs.he), {"tiles": tiles})[1] <= 1e-5


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (2, 9), (3, 4)])
def test_mif_graph_is_the_torch_tower_for_any_panel(
    towers: Towers, graphs: TowerGraphs, count: int, channels: int
) -> None:
    rng = np.random.default_rng(channels)
    patches = rng.integers(0, 256, (count, channels, 256, 256), np.uint8)
    patches[0, 0] = 4
    markers = np.stack([rng.permutation(10)[:channels] for _ in range(count)]).astype(np.int64)
    assert check_graph("mIF", towers.mif, plain_engine(graphs.mif), {"patches": patches, "markers": markers})[1] <= 1e-5


@pytest.mark.parametrize(("count", "length"), [(1, 3), (4, 200)])
def test_text_graph_is_the_torch_tower_up_to_its_longest_text(
    towers: Towers, graphs: TowerGraphs, count: int, length: int
) -> None:
    rng = np.random.default_rng(length)
    ids = rng.integers(0, 50, (count, length))
    mask = (np.arange(length) < rng.integers(1, length + 1, (count, 1))).astype(np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask}
    assert check_graph("text", towers.text, plain_engine(graphs.text), inputs)[1] <= 1e-5


def test_graph_of_other_weights_is_refused(graphs: TowerGraphs) -> None:
    other = ready(4)
    tiles = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)
    with pytest.raises(GraphMismatchError, match="Do not ship it"):
        check_graph("H&E", other.he, plain_engine(graphs.he), {"tiles": tiles})


def test_graphs_are_pure_onnx_of_opset_20_with_the_agreed_names(graphs: TowerGraphs) -> None:
    expected = {
        "he": (graphs.he, {"tiles": onnx.TensorProto.UINT8}),
        "mif": (graphs.mif, {"patches": onnx.TensorProto.UINT8, "markers": onnx.TensorProto.INT64}),
        "text": (graphs.text, {"input_ids": onnx.TensorProto.INT64, "attention_mask": onnx.TensorProto.INT64}),
    }
    for data, inputs in expected.values():
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
        assert {node.domain for node in model.graph.node} == {""}
        assert {value.name: value.type.tensor_type.elem_type for value in model.graph.input} == inputs
        assert [value.name for value in model.graph.output] == ["vector"]
        batches = {value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input}
        assert len(batches) == 1 and batches != {""}


def test_graphs_hold_no_path_of_the_machine_that_made_them(graphs: TowerGraphs) -> None:
    words = [os.getcwd(), os.path.dirname(os.__file__), "site-packages", ".py", "torch.nn"]
    if len(getpass.getuser()) > 3:
        words.append(f"/{getpass.getuser()}/")
    for data in (graphs.he, graphs.mif, graphs.text):
        assert not [word for word in words if word.encode() in data]
