"""The cohort form against SciPy and against the published formula written out, patient by patient."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from haiku_edge.cli.counterfactual import run_cohort
from haiku_edge.export.evaluation.counterfactual import (
    CohortEffect,
    IndexedGallery,
    cohort_counterfactual,
    effects,
    own_gallery,
)
from haiku_edge.export.evaluation.counterfactual_null import BothNotes, draw_sets, other_notes
from haiku_edge.export.evaluation.counterfactual_render import cohort_metrics, render_cohort_effect
from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, write_cohort
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.counterfactual import CounterfactualOptions, Search
from haiku_edge.runtime.errors import CohortError, UsageError

PATIENTS, EACH, DIMENSION, MARKERS = 14, 6, 10, 3
SETS = (("survival_status", "alive"), ("survival", "x2.4"))


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def make_cohort(patients: int = PATIENTS, each: int = EACH, dimension: int = DIMENSION) -> EmbeddedCohort:
    """Patients with six patches; every third is alive already, and a fifth of the positivity is not known."""
    random = np.random.default_rng(0)
    names = np.repeat([f"q{i:02d}" for i in range(patients)], each)
    count = len(names)
    positive = (random.uniform(size=(count, MARKERS)) < 0.5).astype(np.float32)
    positive[random.uniform(size=positive.shape) < 0.2] = np.nan
    facts = {
        f"q{i:02d}": {
            "tissue_type": ("Lung", "Colon")[i % 2],
            "stage": ("I", "II", "IV")[i % 3],
            "survival_status": "alive" if i % 3 == 0 else "dead",
            "survival": f"{10 + i} months",
        }
        for i in range(patients)
    }
    place = np.arange(count, dtype=np.float32)
    return EmbeddedCohort(
        markers=("A", "B", "C"),
        patches=np.array([f"patch{i}" for i in range(count)]),
        regions=names,
        patients=names,
        x=place,
        y=place,
        side=128.0,
        vectors={
            "he": unit(random.normal(size=(count, dimension)) + 1),
            "mif": unit(random.normal(size=(count, dimension)) + 1),
        },
        expression=np.where(np.isnan(positive), np.nan, 10 * positive).astype(np.float32),
        positive=positive,
        facts=facts,
    )


COHORT = make_cohort()


def embed(prompts: Sequence[str]) -> NDArray[np.float32]:
    """A text tower of sorts: the same words give the same vector, other words another."""
    seeds = [sum(place * byte for place, byte in enumerate(prompt.encode(), 1)) for prompt in prompts]
    return unit(np.stack([np.random.default_rng(seed).normal(size=DIMENSION) + 0.5 for seed in seeds]))


def run(**more: object) -> CohortEffect:
    return cohort_counterfactual(
        COHORT,
        SETS,
        embed,
        own_gallery(COHORT),
        Search(neighbours=20),
        where={"survival_status": "dead"},
        **more,  # type: ignore[arg-type]
    )


def test_each_patients_prevalence_is_the_published_one_without_their_own_patches() -> None:
    found = run(random_edits=0)
    assert found.patients == 9 and found.left_out == {"other patients than asked for": 5}
    name = found.names[4]
    facts = COHORT.facts[name]
    months = round(2.4 * int(facts["survival"].split()[0]))
    edited = {**facts, "survival_status": "alive", "survival": f"{months} months"}
    for place, own in enumerate((facts, edited)):
        details = ", ".join(f"{key}: {value}" for key, value in own.items())
        intro = "This multiplexed image captures a complex cellular microenvironment."
        text = embed([f"{intro} Clinical metadata includes: {details}."])[0]
        shares = []
        for he in COHORT.vectors["he"][COHORT.patients == name]:
            scores = 0.6 * COHORT.vectors["mif"] @ he + 0.4 * COHORT.vectors["mif"] @ text
            scores[COHORT.patients == name] = -np.inf
            best = np.argsort(-scores, kind="stable")[:20]
            s, label = scores[best][:, None].astype(np.float64), COHORT.positive[best]
            shares.append((s * np.nan_to_num(label)).sum(axis=0) / (s * np.isfinite(label)).sum(axis=0))
        assert np.allclose(found.theta[place, 4], np.mean(shares, axis=0), atol=1e-5)


def test_statistics_over_patients_are_scipys() -> None:
    found = run(random_edits=0)
    difference = found.theta[1] - found.theta[0]
    tests = {marker: stats.wilcoxon(difference[:, m], method="exact").pvalue for m, marker in enumerate(COHORT.markers)}
    q = dict(zip(tests, stats.false_discovery_control(list(tests.values())), strict=True))
    for own in found.markers:
        column = difference[:, COHORT.markers.index(own.marker)]
        assert own.p == pytest.approx(tests[own.marker]) and own.q == pytest.approx(q[own.marker])
        assert own.effect == pytest.approx(column.mean() / column.std(ddof=1))
        assert own.low <= own.difference <= own.high and own.after - own.before == pytest.approx(own.difference)
        assert np.isnan(own.random_p)
    sizes = [abs(own.effect) for own in found.markers]
    assert sizes == sorted(sizes, reverse=True)


def test_an_effect_that_every_patient_has_is_found_and_noise_is_not() -> None:
    random = np.random.default_rng(1)
    before = random.uniform(0.2, 0.6, (30, 3))
    after = before + random.normal(0, 0.01, (30, 3))
    after[:, 0] += 0.02
    found = {own.marker: own for own in effects(("real", "noise", "more"), np.stack([before, after]))}
    assert found["real"].q < 0.001 and found["real"].low > 0.01 and found["noise"].q > 0.05


def test_a_marker_that_spreads_beyond_three_times_the_median_is_not_tested() -> None:
    random = np.random.default_rng(2)
    before = random.uniform(0.2, 0.6, (20, 4))
    after = before + random.normal(0, 0.01, (20, 4)) * np.array([1, 1, 1, 10])
    found = {own.marker: own for own in effects(("a", "b", "c", "wild"), np.stack([before, after]))}
    assert found["wild"].unstable and np.isnan(found["wild"].p) and not found["a"].unstable


def test_a_marker_that_too_few_patients_have_gets_no_statistics() -> None:
    theta = np.random.default_rng(3).uniform(size=(2, 8, 1))
    theta[0, 4:] = np.nan
    (own,) = effects(("A",), theta)
    assert own.patients == 4 and np.isnan([own.p, own.q, own.effect, own.low]).all()


DEAD = {name: own for name, own in COHORT.facts.items() if own["survival_status"] == "dead"}


def both_notes(sets: Mapping[str, str], facts: Mapping[str, Mapping[str, str]] = COHORT.facts) -> dict[str, BothNotes]:
    return {name: BothNotes(tuple(own.items()), tuple({**own, **sets}.items())) for name, own in facts.items()}


def test_random_edits_are_alike_in_all_patients_and_never_the_real_one() -> None:
    patients, donors = both_notes({"survival_status": "alive", "survival": "30 months"}), list(COHORT.facts.values())
    drawn = draw_sets(patients, donors, 2, 20)
    assert len(drawn) == len(set(drawn)) == 20 and all(len(edit) == 2 for edit in drawn)
    assert drawn == draw_sets(patients, donors, 2, 20)
    stages = draw_sets(both_notes({"stage": "iv"}), [{"stage": "IV"}, {"stage": "Iv"}, {"stage": "I"}], 1, 200)
    assert stages == ((("stage", "I"),),)


def test_a_random_edit_changes_every_patient_whom_it_counts_and_enough_of_them() -> None:
    patients = both_notes({"survival_status": "alive"}, DEAD)
    drawn = draw_sets(patients, list(COHORT.facts.values()), 1, 200)
    assert (("survivalstatus", "dead"),) not in drawn and (("survivalstatus", "alive"),) not in drawn
    for ((key, value),) in drawn:
        changed = {name for name, own in patients.items() if other_notes(own, ((key, value),)) is not None}
        field = {"tissuetype": "tissue_type"}.get(key, key)
        assert changed == {name for name, own in DEAD.items() if own[field] != value} and len(changed) >= 5
    few = {name: {"stage": "I" if i < 4 else "II"} for i, name in enumerate(DEAD)}
    # To II changes only four patients, to I five.
    assert draw_sets(both_notes({"stage": "IV"}, few), list(few.values()), 1, 50) == ((("stage", "I"),),)


def test_patients_whom_a_random_edit_leaves_as_they_are_do_not_make_it_look_small() -> None:
    """Seven patients of nine have stage I, so that to I changes two, and to II seven: only to II is compared with."""
    names = list(COHORT.facts)[:9]
    cohort = COHORT.select(np.isin(COHORT.patients, names))
    object.__setattr__(cohort, "facts", {name: {"stage": "I" if i < 7 else "II"} for i, name in enumerate(names)})
    found = cohort_counterfactual(
        cohort, (("stage", "IV"),), embed, own_gallery(cohort), Search(neighbours=20), random_edits=30
    )
    assert found.random_edits == 1 and found.random_p in (0.5, 1.0)
    seven = cohort.select(np.isin(cohort.patients, names[:7]))
    other = cohort_counterfactual(
        seven, (("stage", "II"),), embed, own_gallery(cohort), Search(neighbours=20), random_edits=0
    )
    moved = np.mean([abs(own.difference) for own in other.markers])
    real = np.mean([abs(own.difference) for own in found.markers])
    assert found.random_p == (1.0 if moved >= real else 0.5)


def test_random_edits_that_do_not_know_a_marker_say_nothing_of_it() -> None:
    random = np.random.default_rng(4)
    before = random.uniform(0.2, 0.6, (20, 2))
    theta = np.stack([before, before + random.normal(0.05, 0.01, (20, 2))])
    null = np.array([[0.2, np.nan], [np.nan, np.nan], [0.001, np.nan]])
    found = {own.marker: own.random_p for own in effects(("A", "B"), theta, null=null)}
    assert found["A"] == pytest.approx(2 / 3) and np.isnan(found["B"])


def listen(
    cohort: EmbeddedCohort, sets: tuple[tuple[str, str], ...], **more: object
) -> tuple[CohortEffect, tuple[str, ...]]:
    """The effect, and every prompt that the text tower read."""
    heard: list[str] = []

    def embed_and_note(prompts: Sequence[str]) -> NDArray[np.float32]:
        heard.extend(prompts)
        return embed(prompts)

    found = cohort_counterfactual(
        cohort,
        sets,
        embed_and_note,
        own_gallery(COHORT),
        Search(neighbours=20),
        random_edits=10,
        **more,  # type: ignore[arg-type]
    )
    return found, tuple(heard)


def test_how_a_case_ended_stands_in_no_notes_unless_that_is_edited() -> None:
    found, heard = listen(COHORT, (("stage", "III"),), where={"survival_status": "dead"})
    assert found.patients == 9 and not found.outcomes and found.random_edits > 0
    assert not any(word in prompt for prompt in heard for word in ("surviv", "dead", "alive", "months"))
    assert "left out of the notes" in render_cohort_effect(found)
    published, heard = listen(COHORT, SETS)
    assert published.outcomes and all("survival_status: " in prompt for prompt in heard)


def test_identifiers_pass_neither_from_the_cohort_nor_from_an_edit() -> None:
    facts = {name: {**own, "patient_name": "Jane Testcase", "position": "B7"} for name, own in COHORT.facts.items()}
    _, heard = listen(replace(COHORT, facts=facts), (("stage", "III"),))
    assert heard and not any(word in prompt for prompt in heard for word in ("Testcase", "B7"))
    with pytest.raises(UsageError, match="left out") as refused:
        listen(COHORT, (("stage", "MRN-8812345"),))
    assert "8812345" not in str(refused.value)


def test_an_edit_like_any_other_lies_among_them() -> None:
    found = run(random_edits=15)
    assert found.random_edits == 15 and 1 / 16 <= found.random_p <= 1
    assert all(1 / 16 <= own.random_p <= 1 for own in found.markers)
    assert [own.difference for own in found.markers] == [own.difference for own in run(random_edits=0).markers]


def test_without_weight_of_the_text_nobody_changes() -> None:
    search = Search(text_weight=0.0, neighbours=20)
    found = cohort_counterfactual(COHORT, (("stage", "III"),), embed, own_gallery(COHORT), search, random_edits=0)
    assert found.patients == PATIENTS and all(own.difference == 0 and own.p == 1 for own in found.markers)


def test_too_few_patients_patches_or_vectors_are_refused_in_words() -> None:
    few = make_cohort(patients=4)
    with pytest.raises(CohortError, match="at least 5"):
        cohort_counterfactual(few, (("stage", "III"),), embed, own_gallery(few))
    with pytest.raises(CohortError, match="fewer than 7 patches"):
        run(least_patches=7)
    bare = COHORT.select(np.ones(len(COHORT), np.bool_))
    object.__setattr__(bare, "vectors", {"text": COHORT.vectors["he"]})
    with pytest.raises(CohortError, match="H&E"):
        cohort_counterfactual(bare, (("stage", "III"),), embed, own_gallery(COHORT))
    with pytest.raises(CohortError, match="mIF"):
        own_gallery(bare)
    with pytest.raises(UsageError, match="tissue_type, stage, survival_status, survival"):
        cohort_counterfactual(COHORT, (("smoker", "no"),), embed, own_gallery(COHORT))


def test_share_of_the_same_tissue_is_counted_without_the_patient() -> None:
    gallery = own_gallery(COHORT)
    lung = IndexedGallery(
        gallery.markers,
        gallery.vectors,
        gallery.positive,
        gallery.patients,
        np.array(["lung"] * len(COHORT)),
        gallery.index,
    )
    found = cohort_counterfactual(COHORT, (("stage", "III"),), embed, lung, Search(neighbours=20), random_edits=0)
    assert found.same_tissue == (pytest.approx(0.5), pytest.approx(0.5))


def test_what_is_printed_names_no_patient() -> None:
    found = run(random_edits=3)
    printed = render_cohort_effect(found) + str(cohort_metrics(found))
    assert "9 patients" in printed and "Exploratory" in printed and not any(name in printed for name in found.names)


@pytest.mark.parametrize("own", [True, False])
def test_the_command_prints_json_for_a_cohort_file(
    own: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = make_cohort(dimension=open_bundle(None).manifest.embedding_dimension)
    write_cohort(tmp_path / "cohort.parquet", cohort)
    run_cohort(
        tmp_path / "cohort.parquet",
        ["survival_status=alive", "survival=x2.4"],
        ["survival_status=dead"],
        CounterfactualOptions(neighbours=20, random_edits=4),
        least_patches=5,
        own=own,
        as_json=True,
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["patients"] == 9 and printed["random_edits"] == 4 and printed["notice"].startswith("For research")
    assert len(printed["markers"]) == (3 if own else 18)
