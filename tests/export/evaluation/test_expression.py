"""Biomarker inference against the published procedure written out in loops, and on cases made to show its quirks."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort
from haiku_edge.export.evaluation.expression import Setting, pose_problem, score_biomarkers
from haiku_edge.export.evaluation.galleries import LEAVES, Leave, make_barrier, own_gallery, search
from haiku_edge.export.evaluation.imputation import impute
from haiku_edge.export.evaluation.sweep import sweep_settings
from haiku_edge.export.evaluation.tasks import biomarker_task
from haiku_edge.runtime.atlas import Neighbours
from haiku_edge.runtime.errors import CohortError, UsageError
from tests.export.evaluation.small_cohort import SIDE, small_cohort


def _allowed(cohort: EmbeddedCohort, i: int, j: int, leave: Leave) -> bool:
    """Whether patch j may answer for patch i, in words."""
    if leave == "nothing":
        return True
    if leave == "patient":
        return bool(cohort.patients[i] != cohort.patients[j])
    if cohort.regions[i] != cohort.regions[j]:
        return True
    if leave == "region":
        return False
    apart = abs(cohort.x[i] - cohort.x[j]) >= SIDE or abs(cohort.y[i] - cohort.y[j]) >= SIDE
    return bool(i != j and apart)


def notebook(cohort: EmbeddedCohort, leave: Leave, *, sentinel: bool) -> dict[str, float]:
    """The published notebook, line by line; without the sentinel, the mended one. Pearson by marker."""
    he, text, mif = (cohort.vectors[name] for name in ("he", "text", "mif"))
    raw, count = cohort.expression.astype(float), len(cohort)
    z = np.full(raw.shape, np.nan)
    for m in range(raw.shape[1]):
        have = ~np.isnan(raw[:, m])
        z[have, m] = (raw[have, m] - raw[have, m].mean()) / raw[have, m].std()
    stored = np.where(np.isnan(z), -1.0, z)
    inferred = np.full(raw.shape, np.nan)
    for i in range(count):
        scores = [
            (0.8 * float(he[i] @ mif[j]) + 0.2 * float(text[i] @ mif[j]), j)
            for j in range(count)
            if _allowed(cohort, i, j, leave)
        ]
        top = sorted(scores, reverse=True)[:5]
        weights = np.exp([score for score, _ in top])
        weights /= weights.sum()
        for m in range(raw.shape[1]):
            if sentinel:
                inferred[i, m] = sum(w * stored[j, m] for w, (_, j) in zip(weights, top, strict=True))
                continue
            pairs = [(w, z[j, m]) for w, (_, j) in zip(weights, top, strict=True) if not np.isnan(z[j, m])]
            if pairs:
                inferred[i, m] = sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
    result = {}
    for m, marker in enumerate(cohort.markers):
        have = ~np.isnan(raw[:, m]) & ~np.isnan(inferred[:, m])
        if have.mean() > 0 and (not sentinel or (~np.isnan(raw[:, m])).mean() > 0.8):
            result[marker] = float(np.corrcoef(inferred[have, m], raw[have, m])[0, 1])
    return result


@pytest.mark.parametrize("leave", LEAVES)
def test_both_forms_are_the_notebook_under_every_gallery(leave: Leave) -> None:
    cohort = small_cohort(patients=6)
    result = score_biomarkers(pose_problem(cohort, own_gallery(cohort), rounds=20))
    for form in ("published", "honest"):
        want = notebook(cohort, leave, sentinel=form == "published")
        score = result.form(form, leave)
        assert {marker.marker: marker.pearson.value for marker in score.markers} == pytest.approx(want, abs=1e-5)
        kept = [want[marker.marker] for marker in score.markers if marker.kept]
        assert score.pearson.value == pytest.approx(np.mean(kept), abs=1e-5)


def test_published_form_keeps_only_what_four_fifths_measured() -> None:
    cohort = small_cohort(patients=12)
    rare = cohort.expression.copy()
    rare[: len(cohort) // 4, 1] = np.nan
    result = score_biomarkers(
        pose_problem(replace(cohort, expression=rare), own_gallery(replace(cohort, expression=rare)))
    )
    assert "CD8" not in {marker.marker for marker in result.form("published", "nothing").markers}
    honest = {marker.marker: marker.kept for marker in result.form("honest", "nothing").markers}
    assert honest == {"DAPI": True, "CD8": False, "PanCK": True, "CD20": True}


def test_missing_marker_enters_the_published_mean_as_minus_one_and_the_honest_one_not_at_all() -> None:
    z = np.array([[2.0], [np.nan]], np.float32)
    found = Neighbours(np.array([[0, 1]]), np.array([[0.5, 0.5]], np.float32))
    assert impute(z, found, "published")[0, 0] == pytest.approx((2.0 - 1.0) / 2)
    assert impute(z, found, "honest")[0, 0] == pytest.approx(2.0)
    nobody = Neighbours(np.array([[1, -1]]), np.array([[0.5, -np.inf]], np.float32))
    assert impute(z, nobody, "published")[0, 0] == pytest.approx(-1.0)
    assert np.isnan(impute(z, nobody, "honest")[0, 0])


def test_low_temperature_listens_to_the_nearest() -> None:
    z = np.array([[1.0], [3.0]], np.float32)
    found = Neighbours(np.array([[0, 1]]), np.array([[0.9, 0.8]], np.float32))
    assert impute(z, found, "honest", 1.0)[0, 0] == pytest.approx((1 + 3 * np.exp(-0.1)) / (1 + np.exp(-0.1)))
    assert impute(z, found, "honest", 0.001)[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("leave", LEAVES)
def test_barred_patches_are_never_found(leave: Leave) -> None:
    cohort = small_cohort(patients=4, step=90.0)
    gallery = own_gallery(cohort)
    found = search(cohort.vectors["mif"], gallery.vectors, len(cohort), make_barrier(cohort, gallery, leave))
    for i, row in enumerate(found.ids):
        got = set(row[row >= 0].tolist())
        assert got == {j for j in range(len(cohort)) if _allowed(cohort, i, j, leave)}


def test_patches_side_by_side_do_not_overlap_and_unknown_places_leave_out_the_patch_alone() -> None:
    touching = small_cohort(patients=2, step=SIDE)
    unknown = replace(touching, x=np.full(len(touching), np.nan, np.float32))
    for cohort in (touching, unknown):
        gallery = own_gallery(cohort)
        mask = make_barrier(cohort, gallery, "patch").mask(slice(0, len(cohort)))
        assert mask is not None
        np.testing.assert_array_equal(mask, np.eye(len(cohort), dtype=bool))


def test_regions_of_two_patients_with_one_name_are_two_regions() -> None:
    cohort = small_cohort(patients=2, regions=1)
    same = replace(cohort, regions=np.full(len(cohort), "R"), patches=np.tile([f"{i}" for i in range(4)], 2))
    mask = make_barrier(same, own_gallery(same), "region").mask(slice(0, len(same)))
    np.testing.assert_array_equal(mask, cohort.patients[:, None] == cohort.patients[None])


@pytest.mark.parametrize("regions", [1, 2])
def test_scores_by_region_do_not_depend_on_what_regions_are_called(regions: int) -> None:
    cohort = small_cohort(patients=4, regions=regions)
    number = [name.rpartition("R")[2] for name in cohort.regions]
    same = replace(cohort, regions=np.array([f"core {int(n) % regions}" for n in number]))
    one, other = (score_biomarkers(pose_problem(own, own_gallery(own), rounds=5)) for own in (cohort, same))
    assert one.regions_are_patients == other.regions_are_patients == (regions == 1)
    assert other.form("honest", "patient").region_pearson == one.form("honest", "patient").region_pearson


def test_search_is_that_of_sorting_and_does_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = small_cohort(patients=9)
    he, mif = cohort.vectors["he"], cohort.vectors["mif"]
    found = search(he, mif, 7)
    order = np.argsort(-(he.astype(float) @ mif.astype(float).T), axis=1)[:, :7]
    np.testing.assert_array_equal(found.ids, order)
    monkeypatch.setattr("haiku_edge.runtime.inference.blocks.NUMBERS_AT_ONCE", 1)
    alone = search(he, mif, 7)
    np.testing.assert_array_equal(found.ids, alone.ids)
    np.testing.assert_array_equal(found.scores, alone.scores)


@pytest.mark.parametrize("entries", [200, 6400])
def test_memory_of_a_search_does_not_grow_with_the_queries(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    """The vectors of the candidates count too: of 200 entries they are sixty times the scores."""
    monkeypatch.setattr("haiku_edge.runtime.inference.blocks.NUMBERS_AT_ONCE", 1 << 18)
    queries = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    vectors = np.random.default_rng(1).normal(size=(entries, 64)).astype(np.float32)
    tracemalloc.start()
    try:
        search(queries, vectors, 50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    found = 2000 * 50 * (8 + 4)
    assert peak - found < 6 * 4 * (1 << 18)


def test_finding_oneself_flatters_and_leaving_the_patient_out_does_not() -> None:
    """Expression that is pure noise can only be inferred by finding the very patch."""
    rng = np.random.default_rng(8)
    cohort = small_cohort(patients=8)
    noise = rng.normal(60, 10, size=cohort.expression.shape).astype(np.float32)
    cohort = replace(cohort, expression=noise, vectors={**cohort.vectors, "he": cohort.vectors["mif"]})
    result = score_biomarkers(pose_problem(cohort, own_gallery(cohort)))
    assert result.form("honest", "nothing").pearson.value > 0.35
    for leave in ("patch", "region", "patient"):
        assert abs(result.form("honest", leave).pearson.value) < 0.2


def test_spearman_is_that_of_scipy() -> None:
    cohort = small_cohort(patients=6)
    problem = pose_problem(cohort, own_gallery(cohort))
    result = score_biomarkers(problem)
    inferred = impute(problem.gallery.z, problem.find(0.2, 5, "patient"), "honest")
    for m, marker in enumerate(result.form("honest", "patient").markers):
        known = np.isfinite(problem.truth[:, m]) & np.isfinite(inferred[:, m])
        want = spearmanr(inferred[known, m], problem.truth[known, m]).statistic
        assert marker.spearman.value == pytest.approx(want)
        assert marker.spearman.low <= want <= marker.spearman.high


def test_baselines_are_what_they_say() -> None:
    cohort = small_cohort(patients=6)
    facts = {p: {**own, "tissue_type": "AB"[i % 2]} for i, (p, own) in enumerate(cohort.facts.items())}
    cohort = replace(cohort, facts=facts)
    gallery = own_gallery(cohort, cohort.labels("tissue_type"))
    problem = pose_problem(cohort, gallery)
    result = score_biomarkers(problem)
    baselines = {score.name: score for score in result.baselines}
    assert set(baselines) == {"H&E alone", "notes alone", "mean of the tissue", "mean of the gallery"}
    inferred = _tissue_means(cohort, gallery.z)
    known = np.isfinite(problem.truth[:, 0])
    want = np.corrcoef(inferred[known, 0], problem.truth[known, 0])[0, 1]
    assert baselines["mean of the tissue"].markers[0].pearson.value == pytest.approx(want, abs=1e-5)


def _tissue_means(cohort: EmbeddedCohort, z: NDArray[np.float32]) -> NDArray[np.float64]:
    tissue = cohort.labels("tissue_type")
    return np.array(
        [np.nanmean(z[(tissue == tissue[i]) & (cohort.patients != cohort.patients[i])], axis=0) for i in range(len(z))]
    )


def test_gallery_of_other_patients_has_nothing_to_leave_out() -> None:
    cohort, others = small_cohort(patients=4), small_cohort(patients=5, seed=1)
    others = replace(others, patients=np.char.add("Q", others.patients))
    result = score_biomarkers(pose_problem(cohort, own_gallery(others)))
    assert not result.shared and [score.leave for score in result.forms] == ["nothing", "nothing"]


def test_markers_are_matched_by_name() -> None:
    cohort = small_cohort(patients=4)
    turned = [2, 0, 3, 1]
    shuffled = replace(
        cohort, markers=tuple(cohort.markers[m] for m in turned), expression=cohort.expression[:, turned]
    )
    straight = score_biomarkers(pose_problem(cohort, own_gallery(cohort), rounds=5)).form("honest", "patient")
    crossed = score_biomarkers(pose_problem(shuffled, own_gallery(cohort), rounds=5)).form("honest", "patient")
    assert crossed.markers == straight.markers


def test_sweep_chooses_on_one_half_and_tells_on_the_other() -> None:
    cohort = small_cohort(patients=10)
    problem = pose_problem(cohort, own_gallery(cohort))
    sweep = sweep_settings(problem)
    assert sweep.optimistic >= sweep.chosen_pearson - 1e-9
    assert dict(sweep.profiles["neighbours"]).keys() == {1.0, 5.0, 10.0, 20.0, 50.0}
    only = score_biomarkers(problem, Setting(0.2, 20, 1.0)).form("honest", "patient")
    assert dict(sweep.profiles["neighbours"])[20.0] == pytest.approx(only.all_pearson.value)


def test_sweep_on_noise_gains_nothing() -> None:
    gains = []
    for seed in range(6):
        cohort = small_cohort(patients=10, seed=seed)
        noise = np.random.default_rng(seed).normal(size=cohort.expression.shape).astype(np.float32)
        sweep = sweep_settings(pose_problem(replace(cohort, expression=noise), own_gallery(cohort)))
        gains.append((sweep.optimistic - sweep.start_pearson, sweep.chosen_pearson - sweep.start_pearson))
    optimistic, nested = np.mean(gains, axis=0)
    assert optimistic > 0.08
    assert abs(nested) < 0.06


def test_cohorts_that_cannot_answer_are_refused() -> None:
    cohort = small_cohort(patients=3)
    only_mif = replace(cohort, vectors={"mif": cohort.vectors["mif"]})
    with pytest.raises(CohortError, match="H&E"):
        biomarker_task(only_mif)
    with pytest.raises(CohortError, match="mIF"):
        biomarker_task(replace(cohort, vectors={"he": cohort.vectors["he"]}))
    with pytest.raises(CohortError, match="one patient"):
        biomarker_task(small_cohort(patients=1))
    with pytest.raises(CohortError, match="no marker"):
        pose_problem(replace(cohort, markers=("A", "B", "C", "D")), own_gallery(cohort))
    wide = replace(cohort, vectors={**cohort.vectors, "he": np.ones((len(cohort), 3), np.float32)})
    with pytest.raises(UsageError, match="dimensions"):
        pose_problem(wide, own_gallery(cohort))
