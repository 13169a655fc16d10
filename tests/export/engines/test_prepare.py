"""Preparing a machine: every engine that can run is built, judged and kept, and what gives other embeddings is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from haiku_edge.export.engines import prepare as preparing
from haiku_edge.export.engines.candidate import Build, Candidate, as_it_is
from haiku_edge.export.engines.candidates import candidates
from haiku_edge.export.engines.plans import PlanMaker
from haiku_edge.export.engines.prepare import prepare
from haiku_edge.export.engines.regimes import usual_ranges
from haiku_edge.export.engines.trial import rehearse
from haiku_edge.export.engines.verify import verify_engines
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.engine import EngineCache, TowerModel, open_tower, plain_engine, read_model
from haiku_edge.runtime.engine.gpu.survey import Gpu
from haiku_edge.runtime.engine.machine import Machine, survey_machine
from haiku_edge.runtime.engine.open import GRAPH
from haiku_edge.runtime.errors import EngineBuildError
from haiku_edge.runtime.inference.golden import GoldenCases
from haiku_edge.runtime.inference.progress import Progress, Silent


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(None)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path)


def damaged(model: TowerModel, folder: Path, inputs: object, threads: int, progress: Progress) -> None:
    """The tower with one of its matrices shuffled: it runs, and gives other embeddings."""
    graph = onnx.load_model_from_string(model.graph)
    matrix = max(graph.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    values = numpy_helper.to_array(matrix)
    shuffled = np.random.default_rng(3).permutation(values.reshape(-1)).reshape(values.shape)
    matrix.CopyFrom(numpy_helper.from_array(shuffled, matrix.name))
    (folder / GRAPH).write_bytes(graph.SerializeToString())


def refused(model: TowerModel, folder: Path, inputs: object, threads: int, progress: Progress) -> None:
    (folder / GRAPH).write_bytes(b"half an engine")
    raise EngineBuildError("The builder does not know the operator Foo (node foo_7).")


def offer(monkeypatch: pytest.MonkeyPatch, *offered: Candidate) -> None:
    """Let these be the candidates."""
    monkeypatch.setattr(preparing, "candidates", lambda *_: offered)


def test_every_engine_of_the_processor_is_built_judged_and_kept(bundle: Bundle, cache: EngineCache) -> None:
    made = list(prepare(bundle, cache=cache, towers=("text",), precisions=("fp32", "int8")))
    assert {each.engine for each in made} >= {"onnxruntime-cpu"}
    assert {each.precision for each in made} >= {"fp32", "int8-static"}
    assert len(cache.entries()) == len(made)
    for each in made:
        assert each.entry is not None
        assert each.entry.gate.passed == (not each.problem) == (each.entry.items_per_second > 0)
    best = max((each.entry for each in made if each.entry), key=lambda entry: entry.items_per_second)
    engine = open_tower(bundle, bundle.manifest.need_text(), device="cpu", cache=cache)
    assert (engine.device.precision, engine.device.provider) == (best.fingerprint.precision, best.fingerprint.library)


def test_what_is_there_is_not_built_again_unless_asked(bundle: Bundle, cache: EngineCache) -> None:
    ask = {"cache": cache, "towers": ("text",), "precisions": ("fp32",)}
    first = list(prepare(bundle, **ask))
    second = list(prepare(bundle, **ask))
    assert [each.known for each in first] == [False] * len(first)
    assert [each.known for each in second] == [True] * len(second)
    assert [each.entry for each in second] == [each.entry for each in first]
    assert not any(each.known for each in prepare(bundle, **ask, rebuild=True))


def test_a_damaged_engine_is_refused_by_its_gate_and_never_runs(
    bundle: Bundle, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, Candidate("onnxruntime-cpu", "fp32-damaged", damaged))
    (made,) = prepare(bundle, cache=cache, towers=("he",))
    assert "failed its gate" in made.problem
    (entry,) = cache.entries()
    assert not entry.gate.passed
    assert not entry.files
    engine = open_tower(bundle, bundle.manifest.he, device="cpu", cache=cache)
    golden = GoldenCases(bundle)
    plain = plain_engine(bundle.read(bundle.manifest.he.file))
    assert np.array_equal(engine(**golden.inputs("he")), plain(**golden.inputs("he")))
    assert "failed its gate" in engine.device.reason


def test_an_engine_that_can_not_be_built_is_named_and_the_others_go_on(
    bundle: Bundle, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = candidates(survey_machine(), "text", ("onnxruntime-cpu",), ("fp32",))
    offer(monkeypatch, Candidate("onnxruntime-cpu", "fp16", refused), *whole)
    bad, good = prepare(bundle, cache=cache, towers=("text",))
    assert "foo_7" in bad.problem
    assert bad.entry is None
    assert not good.problem
    assert [entry.fingerprint.precision for entry in cache.entries()] == ["fp32"]


def test_the_first_precision_that_passes_settles_it(
    bundle: Bundle, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,) = candidates(survey_machine(), "text", ("onnxruntime-cpu",), ("fp32",))
    offer(
        monkeypatch,
        Candidate("onnxruntime-cpu", "fp16-damaged", damaged, settles="gpu"),
        replace(plain, precision="bf16", settles="gpu"),
        replace(plain, precision="fp32", settles="gpu"),
    )
    made = list(prepare(bundle, cache=cache, towers=("text",)))
    assert [(each.precision, bool(each.problem)) for each in made] == [("fp16-damaged", True), ("bf16", False)]


def test_only_engines_that_this_machine_can_run_are_candidates() -> None:
    machine = survey_machine()
    assert {each.engine for each in candidates(machine, "he")} <= machine.libraries.keys()
    assert {each.precision for each in candidates(machine, "he", precisions=("fp32",))} == {"fp32"}


def test_on_a_gpu_half_precision_is_tried_first_and_processors_stay_in_the_list() -> None:
    for tower in ("he", "text", "mif"):
        listed = candidates(with_gpu(), tower)
        for kind in ("tensorrt", "tensorrt_rtx"):
            own = [each for each in listed if each.engine == kind]
            assert [each.precision for each in own] == ["fp16", "bf16", "fp32"]
            assert all(each.profile and each.settles == kind for each in own)
        assert [each.precision for each in listed if each.engine == "onnxruntime-cuda"] == ["fp16", "fp32"]
        assert "onnxruntime-cpu" in {each.engine for each in listed}


def with_gpu(capability: str = "8.9") -> Machine:
    """This machine, if it had a GPU and everything that runs on one."""
    here = survey_machine()
    libraries = {"tensorrt": "TensorRT 11.4", "tensorrt_rtx": "TensorRT-RTX 1.7", "onnxruntime-cuda": "CUDA"}
    gpus = replace(here.gpus, reason="", driver="580.65", gpus=(Gpu("a GPU", capability, 48 << 30),))
    return replace(here, gpus=gpus, libraries={**here.libraries, **libraries})


@pytest.mark.parametrize(
    ("capability", "eights"), [("8.6", ["int8"]), ("8.9", ["fp8", "int8"]), ("12.0", ["fp8", "int8"])]
)
def test_8_bits_are_built_for_a_gpu_that_has_them_and_only_where_they_are_asked_for(
    capability: str, eights: list[str]
) -> None:
    machine = with_gpu(capability)
    for tower in ("he", "text", "mif"):
        assert not {each.precision for each in candidates(machine, tower) if each.precision.endswith("-static")}
        asked = candidates(machine, tower, ("tensorrt", "tensorrt_rtx"), ("int8", "fp8"))
        for kind in ("tensorrt", "tensorrt_rtx"):
            assert [each.precision for each in asked if each.engine == kind] == [f"{name}-static" for name in eights]
        assert all(each.settles == "" and each.profile for each in asked)


def test_plans_without_weights_have_a_whole_one_to_step_down_to() -> None:
    maker = PlanMaker(usual_ranges("he"), stripped=True)
    listed = candidates(with_gpu(), "he", ("tensorrt",), ("fp16", "int8"), maker)
    assert [(each.precision, each.otherwise is not None) for each in listed] == [("fp16", True), ("int8-static", False)]
    assert all(each.otherwise is None for each in candidates(with_gpu(), "he"))


@pytest.mark.parametrize(("first", "said"), [(refused, "foo_7"), (damaged, "failed its gate")])
def test_what_is_refused_or_fails_its_gate_is_made_in_the_plainer_way_and_says_so(
    bundle: Bundle, cache: EngineCache, monkeypatch: pytest.MonkeyPatch, first: Build, said: str
) -> None:
    offer(monkeypatch, Candidate("onnxruntime-cpu", "fp32", first, otherwise=as_it_is))
    (made,) = prepare(bundle, cache=cache, towers=("he",))
    assert not made.problem
    (entry,) = cache.entries()
    assert made.entry == entry
    assert entry.gate.passed and not entry.files
    assert entry.note.startswith("built whole") and said in entry.note


def test_what_can_not_be_made_in_either_way_is_named(
    bundle: Bundle, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, Candidate("onnxruntime-cpu", "fp32", damaged, otherwise=refused))
    (made,) = prepare(bundle, cache=cache, towers=("he",))
    assert "foo_7" in made.problem
    assert cache.entries() == []


def test_a_run_is_rehearsed_down_to_its_last_rows(bundle: Bundle) -> None:
    inputs = GoldenCases(bundle).inputs("he")
    tower = plain_engine(bundle.read(bundle.manifest.he.file))
    sizes = []

    class Watched:
        spec, device, embed_batches = tower.spec, tower.device, tower.embed_batches

        def __call__(self, **given: np.ndarray) -> np.ndarray:
            sizes.append(len(given["tiles"]))
            return tower(**given)

    rehearse(Watched(), inputs, 12)
    assert sizes == [12, 6, 3, 1]
    rehearse(Watched(), inputs, 12, seconds=0)
    assert len(sizes) == 4


def test_verifying_finds_an_engine_that_was_altered(bundle: Bundle, cache: EngineCache) -> None:
    list(prepare(bundle, cache=cache, towers=("he",), engines=("onnxruntime-cpu",)))
    before = list(verify_engines(bundle, cache))
    assert before
    assert all(not each.problem for each in before)
    derived = next(each.entry for each in before if GRAPH in each.entry.files)
    (cache.root / derived.fingerprint.key() / GRAPH).write_bytes(b"altered")
    after = {each.entry.fingerprint: each.problem for each in verify_engines(bundle, cache)}
    assert "altered" in after[derived.fingerprint]
    assert sum(bool(problem) for problem in after.values()) == 1
    assert derived.fingerprint not in {entry.fingerprint for entry in cache.entries()}


def test_an_engine_that_gives_other_embeddings_now_is_taken_out(bundle: Bundle, cache: EngineCache) -> None:
    """As after a driver that changed a kernel: the digests are right, the vectors are not."""
    (whole,) = prepare(bundle, cache=cache, towers=("he",), engines=("onnxruntime-cpu",), precisions=("fp32",))
    assert whole.entry is not None
    with cache.building(whole.entry.fingerprint) as draft:
        damaged(read_model(bundle, bundle.manifest.he), draft.folder, None, 1, Silent())
        draft.commit(whole.entry)
    (verified,) = verify_engines(bundle, cache)
    assert "failed its gate" in verified.problem
    assert cache.entries() == []
    engine = open_tower(bundle, bundle.manifest.he, device="cpu", cache=cache)
    golden = GoldenCases(bundle)
    assert np.allclose(engine(**golden.inputs("he")), golden.vectors("he"), atol=1e-5)
