"""A graph on disk computes the same wherever its weights lie, and nearly the same in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper

from haiku_edge.export.graph import GraphFiles, check_files, trace_tower, write_graph
from haiku_edge.export.model import MifConfig, MifTower, TowersConfig, build_towers
from haiku_edge.runtime.engine import plain_engine

CONFIG = TowersConfig(mif=MifConfig(markers=9, width=64, hidden=128, blocks="hv"))
INPUTS = {
    "patches": np.random.default_rng(1).integers(0, 256, (2, 3, 256, 256)).astype(np.uint8),
    "markers": np.array([[1, 5, 0], [9, 2, 3]]),
}


@pytest.fixture(scope="module")
def tower() -> MifTower:
    towers = build_towers(CONFIG, seed=6)
    towers.train(False)
    return towers.for_inference().mif


@pytest.fixture(scope="module")
def traced(tower: MifTower) -> bytes:
    """The traced tower, to be written in each way: writing uses a trace up."""
    proto = ir.to_proto(trace_tower(tower))
    return bytes(proto.SerializeToString())


def again(traced: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(traced))


def compute(files: GraphFiles) -> np.ndarray:
    engine = plain_engine(files.graph.read_bytes(), weights=files.read_weights())
    return engine(**INPUTS)


def reference(tower: MifTower) -> np.ndarray:
    with torch.inference_mode():
        return tower(**{name: torch.from_numpy(array) for name, array in INPUTS.items()}).numpy()


@pytest.fixture(scope="module")
def written(tower: MifTower, traced: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, GraphFiles]:
    folder = tmp_path_factory.mktemp("graphs")
    made = {}
    for name, storage, inline in (("in", "fp32", 1 << 30), ("out", "fp32", 0), ("half", "fp16", 0)):
        made[name] = write_graph(tower, again(traced), folder, name, storage=storage, inline_below=inline)  # type: ignore[arg-type]
    return made


def test_weights_inside_and_beside_the_graph_are_the_same_weights(
    tower: MifTower, written: dict[str, GraphFiles]
) -> None:
    assert written["in"].weights == ()
    assert [path.name for path in written["out"].weights] == ["out.weights"]
    assert np.array_equal(compute(written["in"]), compute(written["out"]))
    assert np.abs(compute(written["in"]) - reference(tower)).max() < 1e-6


def test_every_location_is_the_plain_name_of_the_one_file_beside(written: dict[str, GraphFiles]) -> None:
    model = onnx.load(str(written["out"].graph), load_external_data=False)
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    assert {entry.value for entry in entries if entry.key == "location"} == {"out.weights"}
    assert written["out"].graph.stat().st_size < 100_000


def test_half_precision_stores_matrices_in_half_the_bytes_and_computes_in_single(
    tower: MifTower, written: dict[str, GraphFiles]
) -> None:
    half, whole = (sum(file.stat().st_size for file in written[name].weights) for name in ("half", "out"))
    assert half < 0.75 * whole
    difference = np.abs(compute(written["half"]) - reference(tower)).max()
    assert 0 < difference < 1e-3
    model = onnx.load(str(written["half"].graph))
    kinds = {node.op_type for node in model.graph.node if any("fp16" in name for name in node.input)}
    assert kinds == {"Cast"}


def test_half_precision_is_each_matrix_rounded_and_the_preprocessing_untouched(
    tower: MifTower, written: dict[str, GraphFiles]
) -> None:
    model = onnx.load(str(written["half"].graph))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    halves = [array for array in arrays.values() if array.dtype == np.float16]
    rise = tower.encoder.blocks[0].rise.weight.detach().numpy()
    assert any(array.shape == rise.T.shape and np.array_equal(array, rise.T.astype(np.float16)) for array in halves)
    smoothing = tower.standardise.smoothing.numpy()
    assert any(array.dtype == np.float32 and np.array_equal(array, smoothing) for array in arrays.values())
    assert not [array for array in halves if array.ndim < 2]


def test_a_weight_beyond_half_precision_stays_in_single(tower: MifTower, traced: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(traced)
    large = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    values = numpy_helper.to_array(large).copy()
    values[0, 0] = 1e6
    large.CopyFrom(numpy_helper.from_array(values, large.name))
    files = write_graph(tower, ir.from_proto(model), tmp_path, "large", storage="fp16", inline_below=0)
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(str(files.graph)).graph.initializer}
    assert stored[large.name] == onnx.TensorProto.FLOAT
    assert np.isfinite(compute(files)).all()


def test_files_are_checked_as_the_run_time_opens_them(tower: MifTower, written: dict[str, GraphFiles]) -> None:
    vectors, difference = check_files("mIF", tower, written["out"], INPUTS)
    assert np.array_equal(vectors, reference(tower))
    assert difference < 1e-6
