"""TensorRT-RTX builds plans of every tower without a GPU, and says what it does not take."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from haiku_edge.export.engines.build_tensorrt import _choose_capabilities, build_plan
from haiku_edge.export.engines.candidate import calibrating_rows
from haiku_edge.export.engines.explicit import quantise_explicit
from haiku_edge.export.engines.options import FP8_FROM, BuildOptions
from haiku_edge.export.engines.regimes import Regime, patch_ranges, tower_regimes
from haiku_edge.export.engines.variants import to_half
from haiku_edge.export.engines.weights import read_tensors
from haiku_edge.runtime.engine.gpu.plan import open_library
from haiku_edge.runtime.engine.gpu.survey import find_gpus
from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import BundleContentError, DeviceUnavailableError, EngineBuildError, StoppedError

from .towers import TOWERS, WIDTH, doubling, embedded_tower, golden, tiny

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (haiku-edge[rtx])")

N = helper.make_node
RTX = "tensorrt_rtx"
FOR_ANY = BuildOptions(capabilities=("8.0", "8.9", "12.0"))
"""For the same GPUs on every machine."""

GENERATED = re.compile(rb"__mye\d+")
"""Names that the builder makes up as it goes; their numbers depend on where its memory happens to lie."""


def product() -> TowerModel:
    return tiny([N("MatMul", ["tiles", "w"], ["vector"], name="product")], doubling())


def build(model: TowerModel, **options: object) -> bytes:
    return build_plan(model, RTX, tower_regimes(model), options=FOR_ANY, **options).content  # type: ignore[arg-type]


class Watch:
    """A progress that keeps what it is told, and stops the build at a given time."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.steps: list[int] = []
        self.finished = 0
        self._stop_after = stop_after

    def say(self, line: str) -> None:
        raise AssertionError("a build has nothing to say")

    def start(self, stage: str, total: int | None = None) -> None:
        self.stages.append((stage, total))

    def advance(self, steps: int) -> None:
        self.steps.append(steps)
        if self._stop_after is not None and len(self.steps) >= self._stop_after:
            raise StoppedError("Stopped.")

    def finish(self) -> None:
        self.finished += 1


@pytest.mark.parametrize("tower", TOWERS)
def test_a_tower_in_fp16_builds_twice_to_the_same_plan(tower: str) -> None:
    """The same but for the numbers in names that the builder makes up."""
    model = to_half(embedded_tower(tower), "fp16")
    first, second = (GENERATED.sub(b"", build(model)) for _ in range(2))
    assert first == second
    assert model.size < len(first) < 8 << 20


@pytest.mark.parametrize(
    ("tower", "precision"),
    [
        ("text", "fp32"),
        ("he", "bf16"),
        *(
            pytest.param(tower, precision, marks=pytest.mark.slow)
            for tower, precision in (("he", "fp32"), ("mif", "fp32"), ("mif", "bf16"), ("text", "bf16"))
        ),
    ],
)
def test_other_precisions_build_too(tower: str, precision: str) -> None:
    model = embedded_tower(tower)
    built = build_plan(
        model if precision == "fp32" else to_half(model, precision),  # type: ignore[arg-type]
        RTX,
        tower_regimes(model),
        options=FOR_ANY,
    )
    assert built.content and built.seconds > 0 and built.timing_cache == b""
    assert 0.9 < built.weights / (model.size if precision == "fp32" else model.size / 1.7) < 1.1
    assert built.activations > 1 << 20


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("tower", [*TOWERS[:2], pytest.param(TOWERS[2], marks=pytest.mark.slow)])
def test_plans_in_8_bits_hold_their_weights_in_8_bits(tower: str, kind: str) -> None:
    """Their products' weights take half of what fp16's do, so the builder did not widen them again."""
    model, (inputs, _) = embedded_tower(tower), golden(tower)
    variant = quantise_explicit(model, calibrating_rows(inputs), kind)  # type: ignore[arg-type]
    options = BuildOptions(capabilities=("8.9",))
    half = to_half(model, "fp16")
    built, whole = (build_plan(each, RTX, tower_regimes(model), options=options) for each in (variant, half))
    matrices = sum(array.nbytes for name, array in read_tensors(variant)[1].items() if name.endswith(".stored"))
    assert matrices > 100_000
    assert whole.weights - built.weights == pytest.approx(matrices, rel=0.15)


@pytest.mark.slow
def test_a_plan_for_panels_of_all_markers_takes_no_more_memory_than_one_for_typical_ones() -> None:
    tower = embedded_tower("mif")
    model, options = to_half(tower, "fp16"), BuildOptions(capabilities=("8.9",))
    typical, all_markers = (
        build_plan(model, RTX, tower_regimes(tower, patch_ranges(markers)), options=options) for markers in (54, 124)
    )
    assert 0 < all_markers.activations <= typical.activations
    assert all_markers.weights == typical.weights


def test_fp8_for_a_gpu_that_has_none_is_refused_in_the_builders_words() -> None:
    inputs = {"tiles": np.ones((2, WIDTH), np.float32)}
    variant = quantise_explicit(product(), [inputs], "fp8")
    with pytest.raises(EngineBuildError, match=r"sm80.*fp8"):
        build(variant)


@pytest.mark.parametrize("operator", ["Frobnicate", "Det"])
def test_an_operator_that_the_builder_does_not_know_is_named_with_its_node(operator: str) -> None:
    nodes = [
        N(operator, ["tiles"], ["odd"], name="the_odd_one"),
        N("MatMul", ["odd", "w"], ["vector"], name="product"),
    ]
    with pytest.raises(EngineBuildError, match=f"operator {operator} at node 'the_odd_one'") as refused:
        build(tiny(nodes, doubling()))
    assert "\n" not in str(refused.value) and "_src" not in str(refused.value)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (N("MatMul", ["tiles", "seven"], ["vector"], name="misfit"), {"seven": np.eye(7, dtype=np.float32)}),
        (N("LayerNormalization", ["tiles", "seven"], ["vector"], name="misfit"), {"seven": np.ones(7, np.float32)}),
        (N("Add", ["tiles", "half"], ["vector"], name="misfit"), {"half": np.ones(WIDTH, np.float16)}),
    ],
)
def test_what_does_not_fit_is_named_whether_parser_or_builder_finds_it(
    node: onnx.NodeProto, constants: dict[str, np.ndarray]
) -> None:
    with pytest.raises(EngineBuildError, match=f"operator {node.op_type} at node 'misfit'"):
        build(tiny([node], constants))


@pytest.mark.parametrize("sizes", [(4, 2, 1), (WIDTH, WIDTH, WIDTH)])
def test_shapes_that_the_graph_does_not_take_are_refused(sizes: tuple[int, int, int]) -> None:
    width = WIDTH if sizes[0] == 4 else WIDTH + 1
    least, usual, most = ({"tiles": (size, width)} for size in sizes)
    with pytest.raises(EngineBuildError, match=r"MIN<=OPT<=MAX|Dimension mismatch"):
        build_plan(product(), RTX, [Regime(least, usual, most)], options=FOR_ANY)


@pytest.mark.parametrize("damage", [lambda graph: graph[:-9], lambda graph: b"\x00\xff" * 50])
def test_a_damaged_graph_is_refused_before_the_builder_sees_it(damage: object) -> None:
    graph = damage(product().graph)  # type: ignore[operator]
    with pytest.raises(BundleContentError):
        build_plan(TowerModel("he", "", graph), RTX, [Regime({"tiles": (1, 8)}, {"tiles": (1, 8)}, {"tiles": (1, 8)})])


def test_weights_come_from_memory_even_where_a_file_has_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = to_half(embedded_tower("text"), "fp16")
    (location,) = model.weights
    (tmp_path / location).write_bytes(bytes(len(model.weights[location])))
    monkeypatch.chdir(tmp_path)
    weight = np.frombuffer(model.weights[location], np.float16)[:4096].tobytes()
    plan = build(model)
    assert weight[:512] in plan
    elsewhere = TowerModel("text", "", model.graph, {"other": b""})
    with pytest.raises(BundleContentError, match="does not name as its own"):
        build(elsewhere)


def test_a_constant_node_that_points_outside_is_refused() -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=(WIDTH,), data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="he.weights")
    nodes = [
        N("Constant", [], ["c"], name="sneaky", value=tensor),
        N("Add", ["tiles", "c"], ["vector"], name="sum"),
    ]
    with pytest.raises(BundleContentError, match="not all there"):
        build(tiny(nodes, {}, {"he.weights": bytes(4 * WIDTH)}))


def test_progress_goes_from_nothing_to_all() -> None:
    watch = Watch()
    build(to_half(embedded_tower("text"), "fp16"), progress=watch)
    ((stage, total),) = watch.stages
    assert "text" in stage and sum(watch.steps) == total == 100
    assert min(watch.steps) >= 0 and watch.finished == 1


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_stopped_build_ends_with_the_stop_and_leaves_nothing(
    stop_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    watch = Watch(stop_after)
    with pytest.raises(StoppedError):
        build(to_half(embedded_tower("he"), "fp16"), progress=watch)
    assert watch.finished == 0 and len(watch.steps) == stop_after
    assert os.listdir(tmp_path) == []


def test_a_gpu_that_the_builder_can_not_build_for_from_afar_is_refused() -> None:
    with pytest.raises(EngineBuildError, match=r"9\.0.*8\.0, 8\.6, 8\.9, 12\.0"):
        build_plan(product(), RTX, tower_regimes(product()), options=BuildOptions(capabilities=("9.0",)))


@pytest.mark.skipif(find_gpus().usable, reason="there is a GPU")
def test_what_needs_a_gpu_is_refused_without_one() -> None:
    regimes = tower_regimes(product())
    for kind, options in (("tensorrt", BuildOptions()), (RTX, BuildOptions(stripped=True))):
        with pytest.raises(DeviceUnavailableError, match="needs a GPU"):
            build_plan(product(), kind, regimes, options=options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "here", "targets"),
    [
        (BuildOptions(), "", ["SM80", "SM86", "SM89", "SM120", "SM121"]),
        (BuildOptions(), "9.0", ["SM80", "SM86", "SM89", "SM120", "SM121"]),
        (BuildOptions(least=FP8_FROM), "9.0", ["SM89", "SM120", "SM121"]),
        (BuildOptions(least=FP8_FROM), "8.9", ["CURRENT"]),
        (BuildOptions(), "8.9", ["CURRENT"]),
        (BuildOptions(("7.5", "8.9")), "8.9", ["SM75", "SM89"]),
    ],
)
def test_plans_are_for_the_gpu_that_is_here_or_for_all_that_can_be_named(
    options: BuildOptions, here: str, targets: list[str]
) -> None:
    library = open_library(RTX)
    logger = library.Logger(library.ILogger.Severity.INTERNAL_ERROR)
    config = library.Builder(logger).create_builder_config()
    _choose_capabilities(library, config, options, here)
    chosen = [config.get_compute_capability(index).name for index in range(config.num_compute_capabilities)]
    assert chosen == targets
