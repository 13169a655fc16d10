"""`haiku-edge engines` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from haiku_edge.runtime.engine import EngineCache
from haiku_edge.runtime.engine.gpu.survey import find_gpus
from haiku_edge.runtime.engine.timing_cache import TimingCache
from tests.runtime.engine.test_timing_cache import HERE

Run = Callable[..., subprocess.CompletedProcess[str]]
NOTICE = "For research use only. Not for use in diagnostic procedures."


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own."""
    monkeypatch.setenv("HAIKU_EDGE_CACHE", str(tmp_path))
    return tmp_path


def test_engines_are_built_listed_verified_and_pruned(haiku_edge: Run, place: Path) -> None:
    built = haiku_edge("engines", "build", "--tower", "text", "--precision", "fp32", "--json")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["engines"]
    listed = json.loads(haiku_edge("engines", "list", "--json").stdout)
    assert listed["notice"] == NOTICE
    assert all("may run" in one["here"] for one in listed["engines"])
    verified = haiku_edge("engines", "verify")
    assert verified.returncode == 0
    assert "ok: least cosine" in verified.stdout
    pruned = haiku_edge("engines", "prune", "--limit", 0)
    assert pruned.returncode == 0
    assert json.loads(haiku_edge("engines", "list", "--json").stdout)["engines"] == []
    for answer in (verified, pruned):
        assert NOTICE in answer.stdout


def test_what_needs_a_gpu_is_refused_in_words_without_one(haiku_edge: Run, place: Path) -> None:
    if find_gpus().usable:
        pytest.skip("this machine has a GPU")
    asked = {"--stripped": "--stripped is for TensorRT", "--precision=fp8": "Nothing that was asked for"}
    for option, said in asked.items():
        answer = haiku_edge("engines", "build", option)
        assert answer.returncode == 41
        assert said in answer.stderr
        assert "Traceback" not in answer.stderr


def test_what_a_builder_learnt_is_listed_apart_and_pruned(haiku_edge: Run, place: Path) -> None:
    TimingCache(EngineCache(place), HERE, "tensorrt").keep(b"learnt")
    listed = haiku_edge("engines", "list")
    assert listed.returncode == 0, listed.stderr
    assert "0 engines" in listed.stdout
    assert "TensorRT's kernel timings: TensorRT 11.4.0 on NVIDIA RTX 6000 Ada" in listed.stdout
    document = json.loads(haiku_edge("engines", "list", "--json").stdout)
    assert (document["engines"], len(document["timings"])) == ([], 1)
    assert "1 entries taken out, 0 engines stay" in haiku_edge("engines", "prune", "--stale").stdout


def test_what_cant_be_read_is_counted_and_how_to_be_rid_of_it_is_said(haiku_edge: Run, place: Path) -> None:
    kept = place / "engines" / ("0" * 64)
    kept.mkdir(parents=True)
    place.joinpath("engines").chmod(0o700)
    (kept / "entry.json").write_text('{"format": 1}')
    assert json.loads(haiku_edge("engines", "list", "--json").stdout)["unreadable"] == [kept.name]
    listed = haiku_edge("engines", "list")
    assert "0 engines" in listed.stdout
    assert "Left out: 1 " in listed.stdout
    haiku_edge("engines", "prune")
    assert "Left out" not in haiku_edge("engines", "list").stdout


def test_an_empty_cache_is_an_empty_list(haiku_edge: Run, place: Path) -> None:
    answer = haiku_edge("engines", "list")
    assert answer.returncode == 0
    assert "0 engines" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--tower", "liver"), "he, text, mif"),
        (("--engine", "abacus"), "openvino"),
        (("--precision", "fp4"), "fp16"),
    ],
)
def test_what_is_not_known_is_a_usage_error(
    haiku_edge: Run, place: Path, arguments: tuple[str, ...], named: str
) -> None:
    answer = haiku_edge("engines", "build", *arguments)
    assert answer.returncode == 2
    assert named in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_cache_that_others_may_write_to_is_refused_in_words(haiku_edge: Run, place: Path) -> None:
    (place / "engines").mkdir()
    (place / "engines").chmod(0o777)
    for arguments in (("list",), ("build", "--tower", "text"), ("prune",)):
        answer = haiku_edge("engines", *arguments)
        assert answer.returncode == 47
        assert "Others may write" in answer.stderr


def test_a_prediction_says_which_engine_ran(haiku_edge: Run, place: Path, small_slide: Path, tmp_path: Path) -> None:
    assert haiku_edge("engines", "build", "--tower", "he", "--engine", "onnxruntime-cpu").returncode == 0
    strict = haiku_edge("predict", small_slide, "--out", tmp_path / "strict", "--strict", "--json")
    assert json.loads(strict.stdout)["device"]["precision"] == "fp32"
    free = json.loads(haiku_edge("predict", small_slide, "--out", tmp_path / "free", "--json").stdout)
    rates = {
        one["fingerprint"]["precision"]: one["items_per_second"]
        for one in json.loads(haiku_edge("engines", "list", "--json").stdout)["engines"]
        if one["gate"]["passed"]
    }
    assert free["device"]["precision"] == max(rates, key=rates.__getitem__)
    assert "gate:" in free["device"]["reason"]
