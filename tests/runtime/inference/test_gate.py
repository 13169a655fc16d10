"""The gate lets through what gives the same answers, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas, open_atlas
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.engine import open_tower
from haiku_edge.runtime.inference import gate
from haiku_edge.runtime.inference.gate import NEIGHBOURS, Change, judge, judge_shares, measure_change, run_golden
from haiku_edge.runtime.inference.golden import GoldenCases

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return open_atlas(open_bundle(None))


@pytest.fixture(scope="module")
def want() -> Vectors:
    return GoldenCases(open_bundle(None)).vectors("he")


def turned(vectors: Vectors, cosine: float, seed: int = 0) -> Vectors:
    """Unit vectors at exactly that cosine to the given ones, in a random direction."""
    aside = np.random.default_rng(seed).normal(size=vectors.shape)
    aside -= np.einsum("nd,nd->n", aside, vectors)[:, None] * vectors
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return (cosine * vectors + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


@pytest.mark.parametrize(("cosine", "passed"), [(1.0, True), (0.9995, True), (0.9985, False), (-1.0, False)])
def test_a_float_engine_must_give_the_same_vectors(want: Vectors, cosine: float, passed: bool) -> None:
    record = judge(turned(want, cosine), want, precision="fp16")
    assert record.passed == passed
    assert record.rule == "float"
    assert record.least_cosine == pytest.approx(cosine, abs=1e-6)


def test_the_least_cosine_decides_and_not_the_mean(want: Vectors) -> None:
    got = want.copy()
    got[3] = turned(want, 0.99)[3]
    record = judge(got, want, precision="fp16")
    assert record.mean_cosine > 0.9985
    assert not record.passed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_never_pass(want: Vectors, atlas: Atlas, bad: float) -> None:
    got = want.copy()
    got[0, 0] = bad
    for precision in ("fp16", "int8-dynamic"):
        record = judge(got, want, precision=precision, atlas=atlas)
        assert not record.passed
        assert not record.equals_fp32
        assert np.isfinite(record.least_cosine)


def test_only_an_fp32_engine_that_differs_by_rounding_equals_fp32(want: Vectors) -> None:
    assert judge(turned(want, 1 - 1e-7), want, precision="fp32").equals_fp32
    assert not judge(turned(want, 1 - 1e-4), want, precision="fp32").equals_fp32
    assert not judge(want, want, precision="fp16").equals_fp32


@pytest.mark.parametrize(("moved", "passed"), [(0.0, True), (0.04, True), (0.06, False), (1.0, False), (np.nan, False)])
def test_the_weight_that_goes_to_other_experts_can_fail_an_engine(want: Vectors, moved: float, passed: bool) -> None:
    record = judge(want, want, precision="fp32")
    shares = np.zeros((2, 3), np.float32)
    shares[:, 0] = 1
    other = shares.copy()
    other[:, 0] -= moved
    other[0, 1] = other[1, 2] = moved
    judged = judge_shares(record, other, shares)
    assert (judged.passed, judged.equals_fp32) == (passed, passed)
    assert judged.reason.endswith(record.reason)
    assert judged == record or not passed
    assert judge_shares(record, other[:, :0], shares[:, :0]) == record


def test_an_engine_of_integers_is_judged_by_what_the_user_sees(want: Vectors, atlas: Atlas) -> None:
    near = judge(turned(want, 1 - 1e-9), want, precision="int8-dynamic", atlas=atlas)
    assert near.passed
    assert near.rule == "integer"
    far = judge(turned(want, 0.8), want, precision="int8-dynamic", atlas=atlas)
    assert not far.passed
    assert far.neighbour_overlap is not None
    assert far.neighbour_overlap < 0.9 or (far.biomarker_shift or 0) > 0.05


def test_the_reason_speaks_of_what_the_evidence_holds(want: Vectors, atlas: Atlas) -> None:
    got = turned(want, 0.8)
    said = {
        measure: judge(got, want, precision="int8-dynamic", atlas=replace(atlas, measure=measure)).reason
        for measure in ("protein", "gene")
    }
    assert "nearest patches stay" in said["protein"] and "biomarkers move" in said["protein"]
    assert said["gene"] == said["protein"].replace("patches", "spots").replace("biomarkers", "genes")


def test_either_figure_alone_can_fail_an_engine_of_integers(
    want: Vectors, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    for change, passed in (
        (Change(0.95, 0.04), True),
        (Change(0.85, 0.04), False),
        (Change(0.95, 0.06), False),
    ):
        monkeypatch.setattr(gate, "measure_change", lambda *_, found=change: found)
        assert judge(want, want, precision="int8-dynamic", atlas=atlas).passed == passed


def test_a_very_small_atlas_or_few_cases_do_not_judge_integers(want: Vectors, atlas: Atlas) -> None:
    few = replace(atlas, vectors=atlas.vectors[:5])
    assert judge(want, want, precision="int8-dynamic", atlas=few).rule == "float"
    assert judge(want[:3], want[:3], precision="int8-dynamic", atlas=atlas).rule == "float"


@pytest.mark.parametrize("length", [0.5, 2.0])
def test_vectors_of_another_length_never_pass(want: Vectors, atlas: Atlas, length: float) -> None:
    for precision in ("fp32", "int8-dynamic"):
        assert not judge(length * want, want, precision=precision, atlas=atlas).passed


def test_without_an_atlas_an_engine_of_integers_is_judged_by_its_vectors(want: Vectors) -> None:
    assert judge(turned(want, 0.998), want, precision="int8-dynamic").rule == "float"
    assert not judge(turned(want, 0.998), want, precision="int8-dynamic").passed


def test_the_change_is_what_a_search_by_hand_gives(want: Vectors, atlas: Atlas) -> None:
    got = turned(want, 0.95, seed=5)
    shares, values = [], []
    for vectors in (want, got):
        scores = vectors @ atlas.vectors.T
        nearest = np.argsort(-scores, axis=1)[:, :NEIGHBOURS]
        own = np.take_along_axis(scores, nearest, axis=1)
        weights = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
        z = atlas.z[nearest]
        known = np.isfinite(z)
        weighted = np.where(known, weights[:, :, None], 0)
        values.append((weighted * np.where(known, z, 0)).sum(axis=1) / weighted.sum(axis=1))
        shares.append(nearest)
    overlap = np.mean([len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(*shares, strict=True)])
    shift = np.nanmax(np.abs(np.nanmean(values[0], axis=0) - np.nanmean(values[1], axis=0)))
    change = measure_change(atlas, got, want)
    assert change.overlap == pytest.approx(overlap)
    assert change.shift == pytest.approx(shift, abs=1e-5)


@pytest.mark.parametrize("tower", ["he", "text", "mif"])
def test_the_plain_engine_of_each_tower_passes_in_any_batch(tower: str) -> None:
    bundle = open_bundle(None)
    golden = GoldenCases(bundle)
    manifest = bundle.manifest
    section = {"he": manifest.he, "text": manifest.need_text(), "mif": manifest.need_mif()}[tower]
    engine = open_tower(bundle, section, device="cpu", threads=1)
    for batch in (None, 1, 3):
        record = judge(run_golden(engine, golden.inputs(tower), batch), golden.vectors(tower), precision="fp32")
        assert record.equals_fp32, record.reason
