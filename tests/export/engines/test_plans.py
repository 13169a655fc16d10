"""How a GPU's plans are made: each precision by the real builder, without weights, and with what was learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from haiku_edge.export.engines.candidates import candidates
from haiku_edge.export.engines.options import BuiltPlan
from haiku_edge.export.engines.plans import PlanMaker, build_with_timings, eight_bits
from haiku_edge.export.engines.regimes import section_ranges
from haiku_edge.runtime.engine import EngineCache
from haiku_edge.runtime.engine.gpu.survey import find_gpus
from haiku_edge.runtime.engine.machine import Machine
from haiku_edge.runtime.engine.open import PLAN
from haiku_edge.runtime.engine.timing_cache import TimingCache
from haiku_edge.runtime.errors import DeviceUnavailableError
from haiku_edge.runtime.inference.progress import Silent
from tests.runtime.engine.test_timing_cache import HERE

from .towers import embedded, embedded_tower, golden

RTX = replace(HERE, libraries={"tensorrt_rtx": "TensorRT-RTX 1.7"})


def build_text(folder: Path, precision: str, maker: PlanMaker) -> dict[str, int]:
    """Build the text tower as `engines build` does; name and size of each file."""
    (candidate,) = candidates(RTX, "text", precisions=(precision,), plans=maker)
    inputs, _ = golden("text")
    candidate.build(embedded_tower("text"), folder, inputs, 1, Silent())
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_candidate_builds_its_plan_here(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (haiku-edge[rtx])")
    files = build_text(tmp_path, precision, PlanMaker(section_ranges(embedded().manifest.need_text())))
    assert files.keys() == {PLAN}
    assert files[PLAN] > 1 << 20


def test_fp8_is_built_for_those_gpus_alone_that_have_it(tmp_path: Path) -> None:
    """Built for all from 8.0 on, it would be refused."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (haiku-edge[rtx])")
    files = build_text(tmp_path, "fp8", PlanMaker(section_ranges(embedded().manifest.need_text())))
    assert files[PLAN] > 1 << 20


@pytest.mark.skipif(find_gpus().usable, reason="there is a GPU")
def test_a_plan_without_weights_is_refused_without_a_gpu_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (haiku-edge[rtx])")
    maker = PlanMaker(section_ranges(embedded().manifest.need_text()), stripped=True)
    with pytest.raises(DeviceUnavailableError, match="without weights needs a GPU"):
        build_text(tmp_path, "fp16", maker)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("capability", "found"),
    [("7.5", ["int8-static"]), ("8.6", ["int8-static"]), ("8.9", ["fp8-static", "int8-static"])],
)
def test_fp8_is_for_gpus_that_multiply_it(capability: str, found: list[str]) -> None:
    assert list(eight_bits(capability)) == found
    assert eight_bits("10.0") == eight_bits("12.1") == eight_bits("9.0") == eight_bits("8.9")


def learning(learnt: bytes) -> BuiltPlan:
    """Learns one thing more at each build, as a builder does."""
    return BuiltPlan(b"a plan", 1.0, 0, 0, learnt + b"+")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path)


def of(cache: EngineCache, machine: Machine = HERE) -> TimingCache:
    return TimingCache(cache, machine, "tensorrt")


def test_each_build_goes_on_from_what_the_one_before_learnt(cache: EngineCache) -> None:
    for count in (1, 2, 3):
        assert build_with_timings(learning, of(cache)).timing_cache == b"+" * count
    assert of(cache).read() == b"+++"
    elsewhere = replace(HERE, gpus=replace(HERE.gpus, driver="600.1"))
    assert build_with_timings(learning, of(cache, elsewhere)).timing_cache == b"+"
    assert build_with_timings(learning, None).timing_cache == b"+"


def test_what_was_altered_is_learnt_anew(cache: EngineCache) -> None:
    build_with_timings(learning, of(cache))
    (entry,) = cache.entries()
    (cache.root / entry.fingerprint.key() / "timing.cache").write_bytes(b"-")
    assert build_with_timings(learning, of(cache)).timing_cache == b"+"
    assert of(cache).read() == b"+"


def test_a_plan_is_there_also_where_its_timings_can_not_be_kept(cache: EngineCache) -> None:
    cache.root.mkdir(mode=0o700)
    cache.root.chmod(0o777)
    assert build_with_timings(learning, of(cache)).content == b"a plan"
    assert list(cache.root.iterdir()) == []
