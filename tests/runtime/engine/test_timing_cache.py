"""What TensorRT learnt is kept for the next build on the same GPU, as safely as an engine, and is never one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.engine import EngineCache, open_tower
from haiku_edge.runtime.engine.gpu.survey import Gpu, GpuSurvey
from haiku_edge.runtime.engine.machine import Machine
from haiku_edge.runtime.engine.timing_cache import FILE, MOST_BYTES, TimingCache, is_timing_cache
from haiku_edge.runtime.errors import EngineCacheError

ADA = Gpu("NVIDIA RTX 6000 Ada", "8.9", 48 << 30)
HERE = Machine("a processor", "avx2", 2, GpuSurvey("580.65", "13.0", (ADA,)), {"tensorrt": "TensorRT 11.4.0"}, {})


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path)


def of(cache: EngineCache, machine: Machine = HERE) -> TimingCache:
    return TimingCache(cache, machine, "tensorrt")


def test_what_one_build_learnt_the_next_one_gets(cache: EngineCache) -> None:
    assert of(cache).read() == b""
    of(cache).keep(b"learnt")
    of(cache).keep(b"learnt more")
    assert of(cache).read() == b"learnt more"
    assert len(cache.entries()) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(HERE, gpus=replace(HERE.gpus, driver="590.10")),
        replace(HERE, gpus=replace(HERE.gpus, gpus=(replace(ADA, name="another"),))),
        replace(HERE, gpus=replace(HERE.gpus, gpus=(replace(ADA, capability="12.0"),))),
        replace(HERE, libraries={"tensorrt": "TensorRT 11.5.0"}),
    ],
)
def test_another_gpu_driver_or_version_gets_nothing_of_it(cache: EngineCache, other: Machine) -> None:
    of(cache).keep(b"learnt")
    assert of(cache, other).read() == b""


@pytest.mark.parametrize("damage", [b"learnT", b"lear", None])
def test_what_was_altered_is_refused(cache: EngineCache, damage: bytes | None) -> None:
    of(cache).keep(b"learnt")
    (entry,) = cache.entries()
    path = cache.root / entry.fingerprint.key() / FILE
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(EngineCacheError):
        of(cache).read()
    of(cache).keep(b"learnt anew")
    assert of(cache).read() == b"learnt anew"


def test_it_is_private_and_bounded_and_pruned_as_engines_are(cache: EngineCache) -> None:
    of(cache).keep(b"learnt")
    (entry,) = cache.entries()
    assert is_timing_cache(entry)
    assert cache.root.stat().st_mode & 0o077 == 0
    of(cache).keep(bytes(MOST_BYTES + 1))
    of(cache).keep(b"")
    assert of(cache).read() == b"learnt"
    cache.root.chmod(0o777)
    with pytest.raises(EngineCacheError, match="Others may write"):
        of(cache).read()
    cache.root.chmod(0o700)
    cache.prune(limit=0)
    assert of(cache).read() == b""


def test_two_builds_that_end_at_once_do_not_mix_what_they_learnt(cache: EngineCache) -> None:
    of(cache).keep(b"learnt")
    with (
        cache.building(cache.entries()[0].fingerprint),
        pytest.raises(EngineCacheError, match="Another process"),
    ):
        of(cache).keep(b"learnt by the other")
    assert of(cache).read() == b"learnt"


def test_it_never_runs_in_place_of_an_engine(cache: EngineCache) -> None:
    of(cache).keep(b"learnt")
    bundle = open_bundle(None)
    engine = open_tower(bundle, bundle.manifest.he, device="cpu", cache=cache)
    assert engine.device.precision == "fp32"
    assert "timing" not in engine.device.reason
