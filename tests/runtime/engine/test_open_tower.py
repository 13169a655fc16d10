"""Which engine of a tower runs: the fastest that was judged on this machine, else the plain one, and always said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.engine import (
    CachedEngine,
    EngineCache,
    GateRecord,
    open_tower,
    plain_engine,
    read_model,
    survey_devices,
    tower_digest,
)
from haiku_edge.runtime.engine.fingerprint import Fingerprint
from haiku_edge.runtime.engine.machine import survey_machine
from haiku_edge.runtime.engine.model import judges
from haiku_edge.runtime.engine.open import GRAPH
from haiku_edge.runtime.errors import DeviceUnavailableError, UsageError

PASSED = GateRecord(True, True, "float", 1.0, 1.0, 8, None, None, "least cosine 1.000000")
ROUNDED = replace(PASSED, equals_fp32=False, least_cosine=0.9995, reason="least cosine 0.999500")
FAILED = replace(ROUNDED, passed=False, reason="least cosine 0.900000")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(None)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path)


@pytest.fixture(scope="module")
def texts() -> dict[str, NDArray[np.int64]]:
    ids = np.random.default_rng(1).integers(5, 400, (3, 20))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def fingerprint(bundle: Bundle, precision: str = "fp32", engine: str = "onnxruntime-cpu") -> Fingerprint:
    digest = tower_digest(bundle, bundle.manifest.need_text())
    return survey_machine().fingerprint(engine, digest, precision, judged_by=judges(bundle, precision))


def keep(
    cache: EngineCache,
    one: Fingerprint,
    gate: GateRecord = PASSED,
    rate: float = 10.0,
    graph: bytes | None = None,
) -> None:
    with cache.building(one) as draft:
        if graph is not None:
            (draft.folder / GRAPH).write_bytes(graph)
        draft.commit(CachedEngine(one, "embedded, text", "2026-01-01", 1.0, gate, rate, 4))


def other_text_tower(bundle: Bundle) -> bytes:
    """A graph with the same inputs and output that gives other vectors: the text tower's, turned round."""
    import onnx
    from onnx import helper

    model = onnx.load_model_from_string(bundle.read(bundle.manifest.need_text().file))
    for node in model.graph.node:
        node.output[:] = ["vector_before" if name == "vector" else name for name in node.output]
    model.graph.node.append(helper.make_node("Neg", ["vector_before"], ["vector"]))
    return bytes(model.SerializeToString())


def test_without_an_engine_the_tower_runs_as_it_is(
    bundle: Bundle, cache: EngineCache, texts: dict[str, NDArray[np.int64]]
) -> None:
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache)
    plain = plain_engine(bundle.read(bundle.manifest.need_text().file))
    assert np.array_equal(engine(**texts), plain(**texts))
    assert engine.device.precision == "fp32"


def test_the_fastest_engine_that_passed_runs(
    bundle: Bundle, cache: EngineCache, texts: dict[str, NDArray[np.int64]]
) -> None:
    keep(cache, fingerprint(bundle), rate=5.0)
    keep(cache, fingerprint(bundle, "int8-dynamic"), ROUNDED, 50.0, other_text_tower(bundle))
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache)
    plain = plain_engine(bundle.read(bundle.manifest.need_text().file))
    assert np.allclose(engine(**texts), -plain(**texts), atol=1e-6)
    assert engine.device.precision == "int8-dynamic"
    assert "0.9995" in engine.device.reason


def test_strict_allows_only_what_equals_fp32(bundle: Bundle, cache: EngineCache) -> None:
    keep(cache, fingerprint(bundle), rate=5.0)
    keep(cache, fingerprint(bundle, "int8-dynamic"), ROUNDED, 50.0, other_text_tower(bundle))
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache, strict=True)
    assert engine.device.precision == "fp32"


def test_vectors_that_are_kept_are_made_by_exact_engines_alone(bundle: Bundle, cache: EngineCache) -> None:
    exact = replace(PASSED, equals_fp32=False, least_cosine=1 - 1e-7)
    keep(cache, fingerprint(bundle, "fp16"), exact, 20.0)
    keep(cache, fingerprint(bundle, "bf16"), ROUNDED, 30.0, other_text_tower(bundle))
    keep(cache, fingerprint(bundle, "int8-dynamic"), exact, 50.0, other_text_tower(bundle))
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache, kept=True)
    assert engine.device.precision == "fp16"


@pytest.mark.parametrize(
    ("gate", "change", "said"),
    [
        (FAILED, {}, "failed its gate"),
        (PASSED, {"library": "ONNX Runtime 0.1"}, "another version"),
        (PASSED, {"device": "another processor"}, "another device"),
        (PASSED, {"system": "Windows-AMD64"}, "another operating system"),
        (PASSED, {"judged_by": "0" * 64}, "other golden cases"),
    ],
)
def test_an_engine_that_may_not_run_here_is_passed_over_and_named(
    bundle: Bundle, cache: EngineCache, gate: GateRecord, change: dict[str, str], said: str
) -> None:
    keep(cache, replace(fingerprint(bundle, "int8-dynamic"), **change), gate, 50.0, b"never opened")
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache)
    assert engine.device.precision == "fp32"
    assert said in engine.device.reason


def test_an_engine_of_another_tower_is_never_taken(bundle: Bundle, cache: EngineCache) -> None:
    keep(cache, replace(fingerprint(bundle, "int8-dynamic"), tower="0" * 64), PASSED, 50.0, b"never opened")
    assert open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache).device.precision == "fp32"


def test_an_altered_engine_is_not_opened_and_the_plain_one_says_so(bundle: Bundle, cache: EngineCache) -> None:
    one = fingerprint(bundle, "int8-dynamic")
    keep(cache, one, ROUNDED, 50.0, other_text_tower(bundle))
    (cache.root / one.key() / GRAPH).write_bytes(b"altered")
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache)
    assert engine.device.precision == "fp32"
    assert "engines rebuild" in engine.device.reason


def test_a_cache_that_others_may_write_to_counts_as_empty(bundle: Bundle, cache: EngineCache) -> None:
    keep(cache, fingerprint(bundle, "int8-dynamic"), ROUNDED, 50.0, other_text_tower(bundle))
    cache.root.chmod(0o777)
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache)
    assert engine.device.precision == "fp32"
    assert "Others may write" in engine.device.reason


def test_auto_takes_the_best_device_and_says_why_not_a_better_one(bundle: Bundle, cache: EngineCache) -> None:
    device = open_tower(bundle, bundle.manifest.he, device="auto", cache=cache).device
    assert device.requested == "auto"
    for report in survey_devices():
        if report.kind == device.kind:
            break
        assert report.reason in device.reason


def test_a_device_asked_for_by_name_never_falls_back(bundle: Bundle, cache: EngineCache) -> None:
    for report in survey_devices():
        if not report.usable:
            with pytest.raises(DeviceUnavailableError, match=report.kind):
                open_tower(bundle, bundle.manifest.he, device=report.kind, cache=cache)


def test_an_unknown_device_is_a_usage_error(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="tensorrt"):
        open_tower(bundle, bundle.manifest.he, device="quantum")


def test_the_digest_of_a_tower_is_that_of_its_files_and_of_no_other(bundle: Bundle) -> None:
    manifest = bundle.manifest
    digests = {tower_digest(bundle, tower) for tower in (manifest.he, manifest.need_text(), manifest.need_mif())}
    assert len(digests) == 3
    assert read_model(bundle, manifest.he).digest == tower_digest(bundle, manifest.he)
