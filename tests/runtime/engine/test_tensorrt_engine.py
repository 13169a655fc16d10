"""A TensorRT plan: refused in words where it can't run; on a GPU equal to the tower, in order, within its memory."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.runtime.engine import DeviceInfo, Engine, TowerModel, plain_engine
from haiku_edge.runtime.engine.gpu import cuda
from haiku_edge.runtime.engine.gpu.lanes import MAX_SHAPES
from haiku_edge.runtime.engine.gpu.plan import failure, open_library
from haiku_edge.runtime.engine.gpu.refit import Refit, read_refit
from haiku_edge.runtime.engine.gpu.survey import find_gpus
from haiku_edge.runtime.engine.gpu.tensorrt import TensorRTEngine, halve_until_it_fits
from haiku_edge.runtime.errors import (
    DeviceError,
    DeviceMemoryError,
    DeviceUnavailableError,
    EngineError,
    EngineStaleError,
)

BUNDLE = Path(__file__).resolve().parents[3] / "engines" / "embedded"
SURVEY = find_gpus()
WITHOUT_GPU = pytest.mark.skipif(SURVEY.usable, reason="this machine has a GPU")
INFO = DeviceInfo("tensorrt", "tensorrt", "TensorRT", "a GPU", 1, "asked for", "fp16")


@WITHOUT_GPU
@pytest.mark.parametrize("kind", ["tensorrt", "tensorrt_rtx"])
def test_without_a_gpu_the_engine_says_what_is_missing(kind: str) -> None:
    with pytest.raises(DeviceUnavailableError) as raised:
        TensorRTEngine(b"a plan", kind, INFO)
    assert str(raised.value).startswith(f"TensorRT can't be used: {SURVEY.reason}. Use --device")
    assert raised.value.exit_code == 41


@WITHOUT_GPU
def test_a_foreign_plan_without_a_gpu_ends_no_process() -> None:
    code = """
from haiku_edge.runtime.engine.gpu.plan import open_plan
from haiku_edge.runtime.errors import DeviceError
for kind in ("tensorrt", "tensorrt_rtx"):
    for content in (b"", b"x" * 4096, b"ftrt" + bytes(1 << 16)):
        try:
            open_plan(content, kind)
        except DeviceError as error:
            print(type(error).__name__, error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 6
    assert "Traceback" not in result.stderr


def test_bindings_that_do_not_load_are_told_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("tensorrt_bindings", "tensorrt"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text('raise ImportError("libnvinfer.so.11: cannot open shared object file")')
    with pytest.raises(DeviceUnavailableError, match=r"installed but does not load \(libnvinfer\.so\.11"):
        open_library("tensorrt")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error Code 2: OutOfMemory (Requested size was 4294967296 bytes.)", DeviceMemoryError),
        ("[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)", DeviceMemoryError),
    ],
)
def test_tensorrts_words_for_too_little_memory_are_understood(said: str, kind: type[DeviceError]) -> None:
    messages = deque([said])
    error = failure(messages, "did not run a batch")
    assert type(error) is kind
    assert not messages


@pytest.mark.parametrize(("fits", "taken"), [(64, 64), (63, 32), (20, 16), (1, 1)])
def test_the_batch_is_halved_until_it_fits(fits: int, taken: int) -> None:
    asked = []

    def take(rows: int) -> int:
        asked.append(rows)
        if rows > fits:
            raise DeviceMemoryError("The GPU's memory is used up.")
        return rows

    assert halve_until_it_fits(take, 64) == taken
    assert asked == [64 >> step for step in range(len(asked))]


def test_what_does_not_fit_at_all_is_one_clear_error() -> None:
    def take(rows: int) -> None:
        raise DeviceMemoryError("The GPU's memory is used up. Close other programs that use the GPU.")

    with pytest.raises(DeviceMemoryError, match="Close other programs") as raised:
        halve_until_it_fits(take, 64)
    assert raised.value.exit_code == 46


@pytest.fixture(scope="module")
def plan() -> tuple[bytes, str]:
    """The embedded text tower, built here in fp16 by whichever TensorRT is installed."""
    from haiku_edge.export.engines.build_tensorrt import build_plan
    from haiku_edge.export.engines.regimes import tower_regimes
    from haiku_edge.export.engines.variants import to_half

    kind = next(iter(SURVEY.tensorrt), None)
    if kind is None:
        pytest.skip("no TensorRT")
    tower = TowerModel("text", "0" * 64, (BUNDLE / "towers" / "text.onnx").read_bytes())
    return build_plan(to_half(tower, "fp16"), kind, tower_regimes(tower)).content, kind


@pytest.fixture(scope="module")
def reference() -> Engine:
    """The same tower in fp32 on the processor."""
    return plain_engine((BUNDLE / "towers" / "text.onnx").read_bytes())


def _batch(rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, 500, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _least_cosine(got: np.ndarray, want: np.ndarray) -> float:
    return float((got * want).sum(axis=1).min())


@pytest.mark.gpu
@pytest.mark.skipif(not SURVEY.usable, reason="no GPU")
class TestOnAGpu:
    """What only a GPU can show."""

    def test_vectors_are_the_towers(self, plan: tuple[bytes, str], reference: Engine) -> None:
        with TensorRTEngine(*plan, INFO) as engine:
            assert engine.spec == reference.spec
            for rows, length in [(1, 5), (3, 200), (64, 64), (130, 77), (0, 9)]:
                batch = _batch(rows, length)
                vectors = engine(**batch)
                assert vectors.shape == (rows, engine.spec.dimension)
                assert not rows or _least_cosine(vectors, reference(**batch)) > 0.999

    def test_overlapped_batches_are_those_of_single_calls(self, plan: tuple[bytes, str]) -> None:
        sizes = [(1 + 7 * n % 60, 9 + 11 * n % 190) for n in range(40)]
        with TensorRTEngine(*plan, INFO) as engine:
            alone = [engine(**_batch(*size, seed=n)) for n, size in enumerate(sizes)]
            shared = _batch(64, 200)

            def source() -> Iterator[dict[str, np.ndarray]]:
                for n, (rows, length) in enumerate(sizes):
                    for name, array in _batch(rows, length, seed=n).items():
                        shared[name][:rows, :length] = array
                    yield {name: array[:rows, :length] for name, array in shared.items()}

            together = list(engine.embed_batches(source()))
            assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(alone, together, strict=True))
            assert len({size[1] for size in sizes}) > MAX_SHAPES

    def test_memory_is_bounded_and_no_batch_takes_more(self, plan: tuple[bytes, str]) -> None:
        cuda.start()
        free, _ = cuda.free_memory()
        with TensorRTEngine(*plan, INFO, max_batch=16) as engine:
            stated, warm = engine.memory, cuda.free_memory()[0]
            for _ in engine.embed_batches(_batch(16, 200, seed) for seed in range(50)):
                pass
            assert engine.memory == stated
            assert cuda.free_memory()[0] >= warm - (32 << 20)
        del engine
        gc.collect()
        assert cuda.free_memory()[0] >= free - (256 << 20)

    def test_too_little_memory_halves_the_batch_and_says_so(self, plan: tuple[bytes, str]) -> None:
        cuda.start()
        with TensorRTEngine(*plan, INFO) as engine, TensorRTEngine(*plan, INFO, max_batch=8) as small:
            needed, less = engine.memory, small.memory
        del engine, small
        gc.collect()
        with cuda.Resources() as resources:
            resources.device(cuda.free_memory()[0] - (needed + less) // 2)
            with TensorRTEngine(*plan, INFO) as engine:
                assert engine.max_batch < 64
                assert f"batches of {engine.max_batch} instead of 64" in engine.device.reason
                assert len(engine(**_batch(64, 20))) == 64

    def test_a_plan_without_weights_gets_them_back_from_the_bundle(self, plan: tuple[bytes, str]) -> None:
        from haiku_edge.export.engines.build_tensorrt import build_plan
        from haiku_edge.export.engines.options import BuildOptions
        from haiku_edge.export.engines.regimes import tower_regimes
        from haiku_edge.export.engines.stripped import strip_weights
        from haiku_edge.export.engines.variants import to_half

        whole, kind = plan
        tower = TowerModel("text", "0" * 64, (BUNDLE / "towers" / "text.onnx").read_bytes())
        half = to_half(tower, "fp16")
        built = build_plan(half, kind, tower_regimes(tower), options=BuildOptions(stripped=True))
        parts = strip_weights(tower, half)
        refit = read_refit(parts.graph, parts.recipe, tower)
        assert len(built.content) < len(whole)
        with TensorRTEngine(*plan, INFO) as one, TensorRTEngine(built.content, kind, INFO, refit=refit) as other:
            batch = _batch(5, 40)
            assert _least_cosine(other(**batch), one(**batch)) > 0.99999
        missing = Refit(refit.graph, dict(list(refit.weights.items())[1:]))
        with pytest.raises(EngineStaleError, match="the tower's weights"):
            TensorRTEngine(built.content, kind, INFO, refit=missing)

    @pytest.mark.parametrize("precision", ["int8-static", "fp8-static"])
    def test_plans_in_8_bits_stay_near_the_tower(
        self, plan: tuple[bytes, str], reference: Engine, precision: str
    ) -> None:
        from haiku_edge.export.engines.build_tensorrt import build_plan
        from haiku_edge.export.engines.options import FP8_FROM, LEAST_CAPABILITY, BuildOptions
        from haiku_edge.export.engines.plans import derive, eight_bits
        from haiku_edge.export.engines.regimes import tower_regimes

        if precision not in eight_bits(SURVEY.gpus[0].capability):
            pytest.skip("this GPU has no fp8")
        kind, batch = plan[1], _batch(8, 40)
        tower = TowerModel("text", "0" * 64, (BUNDLE / "towers" / "text.onnx").read_bytes())
        options = BuildOptions(least=FP8_FROM if precision == "fp8-static" else LEAST_CAPABILITY)
        model = derive(tower, precision, batch)  # type: ignore[arg-type]
        built = build_plan(model, kind, tower_regimes(tower), options=options)  # type: ignore[arg-type]
        with TensorRTEngine(built.content, kind, INFO) as engine:
            assert _least_cosine(engine(**batch), reference(**batch)) > 0.98

    def test_a_second_build_is_given_what_the_first_one_learnt(self, plan: tuple[bytes, str]) -> None:
        from haiku_edge.export.engines.build_tensorrt import build_plan
        from haiku_edge.export.engines.options import BuildOptions
        from haiku_edge.export.engines.regimes import tower_regimes

        if plan[1] != "tensorrt":
            pytest.skip("TensorRT-RTX measures nothing while it builds")
        tower = TowerModel("text", "0" * 64, (BUNDLE / "towers" / "text.onnx").read_bytes())
        first = build_plan(tower, "tensorrt", tower_regimes(tower))
        again = BuildOptions(timing_cache=first.timing_cache)
        assert first.timing_cache
        assert build_plan(tower, "tensorrt", tower_regimes(tower), options=again).seconds < first.seconds

    def test_what_was_compiled_makes_the_next_start_no_slower(self, plan: tuple[bytes, str]) -> None:
        with TensorRTEngine(*plan, INFO) as engine:
            want, compiled = engine(**_batch(3, 9)), engine.compiled()
        assert bool(compiled) == (plan[1] == "tensorrt_rtx")
        with TensorRTEngine(*plan, INFO, compiled=compiled) as engine:
            assert np.allclose(engine(**_batch(3, 9)), want, atol=1e-6)

    def test_a_plan_of_other_bytes_is_refused(self, plan: tuple[bytes, str]) -> None:
        content, kind = plan
        with pytest.raises(EngineStaleError, match="engines rebuild"):
            TensorRTEngine(b"\0" * 64 + content[64:], kind, INFO)

    def test_a_bad_batch_costs_only_itself(self, plan: tuple[bytes, str]) -> None:
        with TensorRTEngine(*plan, INFO) as engine:
            results = engine.embed_batches([_batch(2, 9), _batch(2, 9, 1), _batch(2, 201)])
            assert len(next(results)) == len(next(results)) == 2
            with pytest.raises(EngineError, match="not built for"):
                next(results)
            assert len(engine(**_batch(3, 9))) == 3
