"""What a machine with a GPU refuses, and how it steps down: told from a description of such a machine.

Nothing here runs on a GPU: every one of these refusals comes before TensorRT is asked.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.engine import CachedEngine, EngineCache, GateRecord, open_tower, tower, tower_digest
from haiku_edge.runtime.engine.choose import kinds_to_try, survey_devices
from haiku_edge.runtime.engine.fingerprint import Fingerprint
from haiku_edge.runtime.engine.gpu.survey import Gpu, GpuSurvey
from haiku_edge.runtime.engine.machine import Machine, survey_machine
from haiku_edge.runtime.engine.machine import _why_not_here as why_not_here
from haiku_edge.runtime.engine.model import judges
from haiku_edge.runtime.engine.open import PLAN
from haiku_edge.runtime.errors import DeviceUnavailableError, EngineCacheError, EngineStaleError

PASSED = GateRecord(True, False, "float", 0.99999, 1.0, 8, None, None, "least cosine 0.999990")
ADA = Gpu("NVIDIA RTX 6000 Ada", "8.9", 48 << 30)
VERSIONS = {"tensorrt": "TensorRT 11.4.0", "tensorrt_rtx": "TensorRT-RTX 1.7.1"}


def machine(gpu: Gpu = ADA, driver: str = "580.65") -> Machine:
    """This machine, if it had that GPU; what does not serve it is named."""
    here, gpus = survey_machine(), GpuSurvey(driver, "13.0", (gpu,), VERSIONS)
    reasons = {engine: why_not_here(engine, version, gpus) for engine, version in VERSIONS.items()}
    serving = {engine: version for engine, version in VERSIONS.items() if not reasons[engine]}
    why_not = {engine: reason for engine, reason in reasons.items() if reason}
    why_not["onnxruntime-cuda"] = "onnxruntime-cuda is not installed (haiku-edge[gpu])"
    return replace(here, gpus=gpus, libraries={**here.libraries, **serving}, why_not=why_not)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(None)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path)


@pytest.fixture
def on_ada(monkeypatch: pytest.MonkeyPatch) -> Machine:
    described = machine()
    monkeypatch.setattr(tower, "survey_machine", lambda: described)
    return described


def keep_plan(cache: EngineCache, bundle: Bundle, of: Machine, **change: str) -> Fingerprint:
    """Keep a plan of the H&E tower that passed its gate on that machine."""
    digest = tower_digest(bundle, bundle.manifest.he)
    one = of.fingerprint("tensorrt", digest, "fp16", "batch 1..16..64", judges(bundle, "fp16"))
    one = replace(one, **change)
    with cache.building(one) as draft:
        (draft.folder / PLAN).write_bytes(b"a plan")
        draft.commit(CachedEngine(one, "embedded, he", "2026-01-01", 1.0, PASSED, 900.0, 64))
    return one


@pytest.mark.parametrize("capability", ["5.2", "6.1", "7.0"])
def test_a_gpu_that_nothing_serves_is_named_and_auto_goes_on(capability: str) -> None:
    old = machine(Gpu("NVIDIA TITAN V", capability, 12 << 30))
    with pytest.raises(DeviceUnavailableError, match=f"7.5 or later, this GPU has {capability}") as raised:
        kinds_to_try("tensorrt", old)
    assert raised.value.exit_code == 41
    assert [report.kind for report in kinds_to_try("auto", old) if report.usable] == ["cpu"]
    assert survey_devices(machine())[0].usable


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": "NVIDIA L4"}, r"another device \(NVIDIA L4 there, NVIDIA RTX 6000 Ada here\)"),
        ({"capability": "12.0"}, r"another compute capability \(12.0 there, 8.9 here\)"),
        ({"driver": "570.1"}, r"another driver \(570.1 there, 580.65 here\)"),
        ({"library": "TensorRT 11.3.0"}, r"another version \(TensorRT 11.3.0 there, TensorRT 11.4.0 here\)"),
        ({"library": "TensorRT 11.4.0, NVIDIA_TF32_OVERRIDE=1"}, "another version"),
    ],
)
def test_a_plan_of_another_gpu_driver_or_version_is_refused_before_it_is_opened(
    bundle: Bundle, cache: EngineCache, on_ada: Machine, change: dict[str, str], said: str
) -> None:
    keep_plan(cache, bundle, on_ada, **change)
    with pytest.raises(EngineStaleError, match=f"{said}.*haiku-edge engines rebuild") as raised:
        open_tower(bundle, bundle.manifest.he, device="tensorrt", cache=cache)
    assert raised.value.exit_code == 43
    stepped = open_tower(bundle, bundle.manifest.he, device="auto", cache=cache)
    assert stepped.device.kind == "cpu"
    assert "engines rebuild" in stepped.device.reason


@pytest.mark.parametrize("damage", [b"a plaN", b"a pla", None])
def test_an_altered_plan_never_reaches_the_library_that_would_run_it(
    bundle: Bundle, cache: EngineCache, on_ada: Machine, damage: bytes | None
) -> None:
    path = cache.root / keep_plan(cache, bundle, on_ada).key() / PLAN
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(EngineCacheError, match=r"missing or altered\. It was not opened") as raised:
        open_tower(bundle, bundle.manifest.he, device="tensorrt", cache=cache)
    assert raised.value.exit_code == 47
    assert open_tower(bundle, bundle.manifest.he, device="auto", cache=cache).device.kind == "cpu"


def test_without_an_engine_for_the_gpu_the_command_that_builds_one_is_named(
    bundle: Bundle, cache: EngineCache, on_ada: Machine
) -> None:
    with pytest.raises(EngineStaleError, match="haiku-edge engines build"):
        open_tower(bundle, bundle.manifest.he, device="tensorrt", cache=cache)


FILLS = """
import sys
from pathlib import Path
from tests.runtime.engine.test_engine_cache import PRINT
from haiku_edge.runtime.engine import EngineCache
from haiku_edge.runtime.errors import EngineCacheError
try:
    with EngineCache(Path(sys.argv[1])).building(PRINT) as draft:
        (draft.folder / "engine.plan").write_bytes(bytes(1 << 20))
except EngineCacheError as error:
    print(error)
"""


def test_a_plan_that_the_disk_does_not_take_is_one_clear_error_and_nothing_is_left(
    cache: EngineCache, tmp_path: Path
) -> None:
    """The system's own refusal: a limit on the size of files, which needs no full disk."""
    result = subprocess.run(
        [sys.executable, "-c", FILLS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).resolve().parents[3],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)),
    )
    assert "File too large" in result.stdout and "Free some space" in result.stdout
    assert cache.entries() == []
    assert not [path for path in cache.root.iterdir() if path.is_dir()]


@pytest.mark.parametrize("place", ["/proc/haiku-edge", "/sys/haiku-edge"])
def test_a_place_where_nobody_may_write_is_one_clear_error(place: str) -> None:
    if not Path(place).parent.is_dir():
        pytest.skip("this system has no such place")
    from .test_engine_cache import PRINT

    refused = pytest.raises(EngineCacheError, match="mend its permissions, or name another folder in HAIKU_EDGE_CACHE")
    with refused, EngineCache(Path(place)).building(PRINT):
        pass
