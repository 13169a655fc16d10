"""OpenVINO gives the vectors of ONNX Runtime, says what it cannot run, opens no socket and writes nothing."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, load_from_string

from haiku_edge.runtime.engine import openvino
from haiku_edge.runtime.engine.onnx import OnnxEngine
from haiku_edge.runtime.engine.openvino import OpenVinoEngine, openvino_available, openvino_precisions
from haiku_edge.runtime.errors import DeviceUnavailableError, EngineBuildError, EngineError
from tests.runtime.engine import small_tower

needs_plugin = pytest.mark.skipif(openvino_available() is None, reason="the extra openvino is not installed")

EMBED = """
import sys
import numpy as np
from haiku_edge.runtime.offline import disable_telemetry
disable_telemetry()
from haiku_edge.runtime.engine import DeviceInfo
from haiku_edge.runtime.engine.openvino import OpenVinoEngine
graph = open(sys.argv[1], "rb").read()
engine = OpenVinoEngine(graph, DeviceInfo("cpu", "cpu", "", "", 2, ""))
print(engine(tiles=np.zeros((2, 32, 32, 3), np.uint8)).shape)
"""


@needs_plugin
@pytest.mark.parametrize("weights", [None, "he.weights"])
def test_it_gives_the_vectors_of_plain_onnx_runtime(weights: str | None) -> None:
    model, tiles = small_tower.model(weights), small_tower.tiles(5)
    plain = OnnxEngine(model.graph, small_tower.device(), model.weights)(tiles=tiles)
    engine = OpenVinoEngine(model.graph, small_tower.device(), model.weights)
    assert np.allclose(engine(tiles=tiles), plain, atol=1e-5)
    (vectors,) = engine.embed_batches([{"tiles": tiles}])
    assert np.allclose(vectors, plain, atol=1e-5)


@needs_plugin
def test_its_vectors_depend_neither_on_threads_nor_on_the_batch() -> None:
    model, tiles = small_tower.model(), small_tower.tiles(7)
    engines = [OpenVinoEngine(model.graph, small_tower.device(threads)) for threads in (1, 2)]
    for engine in engines:
        one_by_one = np.concatenate([engine(tiles=tiles[i : i + 1]) for i in range(7)])
        assert np.allclose(one_by_one, engines[0](tiles=tiles), atol=1e-6)


@needs_plugin
def test_fp32_means_fp32_even_on_a_processor_with_bf16() -> None:
    model, tiles = small_tower.model(), small_tower.tiles(5)
    plain = OnnxEngine(model.graph, small_tower.device())(tiles=tiles)
    worst = {
        precision: np.abs(OpenVinoEngine(model.graph, small_tower.device(precision=precision))(tiles=tiles) - plain)
        for precision in openvino_precisions()
    }
    assert worst["fp32"].max() < 1e-5
    if "bf16" in worst:
        assert 1e-5 < worst["bf16"].max() < 0.05


@needs_plugin
def test_matrices_that_are_stored_as_fp16_are_computed_with_in_fp32() -> None:
    model, tiles = load_from_string(small_tower.model().graph), small_tower.tiles(3)
    for tensor in model.graph.initializer:
        if tensor.name in ("rise", "fall"):
            values = np.frombuffer(tensor.raw_data, np.float32).astype(np.float16)
            tensor.raw_data, tensor.data_type = values.tobytes(), 10
            model.graph.node.insert(0, helper.make_node("Cast", [f"{tensor.name}16"], [tensor.name], to=1))
            tensor.name += "16"
    graph = model.SerializeToString()
    plain = OnnxEngine(graph, small_tower.device())(tiles=tiles)
    assert np.allclose(OpenVinoEngine(graph, small_tower.device())(tiles=tiles), plain, atol=1e-5)


@needs_plugin
def test_an_operator_that_it_does_not_know_is_refused_and_not_run_elsewhere() -> None:
    """ONNX Runtime would quietly run it itself."""
    model = load_from_string(small_tower.model().graph)
    gelu = next(node for node in model.graph.node if node.op_type == "Gelu")
    gelu.op_type, gelu.domain = "FastGelu", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    graph = model.SerializeToString()
    assert OnnxEngine(graph, small_tower.device())(tiles=small_tower.tiles(1)).shape == (1, 24)
    with pytest.raises(EngineBuildError, match="OpenVINO"):
        OpenVinoEngine(graph, small_tower.device())


@needs_plugin
@pytest.mark.parametrize("graph", [b"", b"not a graph"])
def test_what_is_no_graph_is_refused(graph: bytes) -> None:
    with pytest.raises(EngineBuildError):
        OpenVinoEngine(graph, small_tower.device())


@needs_plugin
def test_inputs_that_do_not_fit_are_refused() -> None:
    engine = OpenVinoEngine(small_tower.model().graph, small_tower.device())
    with pytest.raises(EngineError):
        engine(tiles=small_tower.tiles(2)[:, :4])


def test_without_the_plugin_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "_MODULE", "a_module_that_nobody_has")
    monkeypatch.setattr(openvino, "_cpu", openvino._cpu.__wrapped__)
    assert openvino_available() is None
    with pytest.raises(DeviceUnavailableError, match=r"haiku-edge\[openvino\]"):
        OpenVinoEngine(small_tower.model().graph, small_tower.device())


def test_asking_whether_it_is_there_loads_nothing_of_it() -> None:
    code = (
        "import sys; from haiku_edge.runtime.engine.openvino import openvino_available; openvino_available();"
        "maps = open('/proc/self/maps').read();"
        "print('openvino_plugin' in maps, 'onnxruntime_ep_openvino' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.split() == ["False", "False"]


@needs_plugin
def test_it_opens_no_socket_and_writes_no_file(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace, which sees what native code does, is not installed")
    (tmp_path / "he.onnx").write_bytes(small_tower.model().graph)
    calls = tmp_path / "calls"
    watched = "trace=network,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2"
    command = ["strace", "-f", "-o", str(calls), "-e", watched, sys.executable, "-B", "-c", EMBED]
    home = tmp_path / "home"
    home.mkdir()
    result = subprocess.run(
        [*command, str(tmp_path / "he.onnx")], capture_output=True, text=True, timeout=300, check=False, cwd=home
    )
    if "ptrace" in result.stderr.lower():
        pytest.skip("this machine lets no process watch another")
    assert result.stdout.split() == ["(2,", "24)"], result.stderr
    made = [line for line in calls.read_text().splitlines() if " = -1 " not in line]
    assert importlib.util.find_spec("onnxruntime_ep_openvino").name in " ".join(made)
    for sign in ("socket(", "connect(", "O_CREAT", "creat(", "mkdir", "rename"):
        assert not [line for line in made if sign in line]
