"""Expression from other patients' spots: what is planted is found, what is not is not, and nothing leaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haiku_edge.export.evaluation.imputation import impute
from haiku_edge.export.evaluation.spade import (
    FEATURES,
    RANDOM_CLUSTERS,
    SPADE,
    Search,
    SpotCohort,
    compare_routing,
    expression_figures,
    few_shot_figures,
    render_expression,
    render_few_shot,
    render_routing,
    routing_figures,
    score_expression,
    score_few_shot,
    score_slides,
    spade_section,
)
from haiku_edge.export.evaluation.spade.expression import ORGAN_MEAN, pose_truth
from haiku_edge.export.evaluation.spade.retrieval import find_neighbours, infer, organ_means
from haiku_edge.runtime.errors import CohortError, UsageError
from tests.export.evaluation.spade.planted_spots import HARD, planted_spots


def only(cohort: SpotCohort, *names: str) -> SpotCohort:
    return replace(cohort, vectors={name: cohort.vectors[name] for name in names}, keys={})


def test_representation_with_the_genes_directions_earns_its_place() -> None:
    found = score_expression(planted_spots())
    good, poor, noise = (found.score(name) for name in (SPADE, FEATURES, RANDOM_CLUSTERS))
    assert good.pearson.value > poor.pearson.value + 0.1
    assert abs(noise.pearson.value) < 0.1 and abs(noise.within.value) < 0.1
    assert found.ceiling is not None and found.ceiling.pearson.value > good.pearson.value > 0.7
    for measure in ("over all spots", "inside sections"):
        assert {gain.word for gain in found.gains_of("image", measure)} == {"better"}
    assert "SPADE earns its place by mean Pearson over all spots, searching pictures." in render_expression(found)


def test_the_same_vectors_under_another_name_do_not_earn_a_place() -> None:
    cohort = planted_spots()
    found = score_expression(replace(cohort, vectors={SPADE: cohort.vectors[SPADE], FEATURES: cohort.vectors[SPADE]}))
    gain = found.gains_of("image", "inside sections")[0]
    assert gain.difference.value == gain.difference.low == gain.difference.high == 0
    text = render_expression(found)
    assert "SPADE does not earn its place by mean Pearson inside sections, searching pictures." in text
    assert "Between it and image features these patients show no difference." in text


def test_worse_is_said_to_be_worse() -> None:
    found = score_expression(planted_spots(), subject=RANDOM_CLUSTERS)
    words = {gain.baseline: gain.word for gain in found.gains_of("image", "inside sections")}
    assert words == {SPADE: "worse", FEATURES: "worse"}
    assert "random clusters does not earn its place" in render_expression(found)


@pytest.mark.parametrize("keys", ["image", "expression"])
def test_a_patients_own_spots_are_never_found(keys: str) -> None:
    cohort = planted_spots(patients=5)
    rng = np.random.default_rng(1)
    owner = np.unique(cohort.patients, return_inverse=True)[1]
    alike = (10 * rng.normal(size=(5, 12))[owner] + 0.01 * rng.normal(size=(len(cohort), 12))).astype(np.float32)
    twins = replace(cohort, vectors={SPADE: alike}, keys={SPADE: alike})
    near = find_neighbours(twins, SPADE, len(cohort), "image" if keys == "image" else "expression")
    own = cohort.patients[:, None] == cohort.patients[np.maximum(near.ids, 0)]
    assert not (own & (near.ids >= 0)).any()
    assert (near.ids >= 0).sum(axis=1).tolist() == [len(cohort) * 4 // 5] * len(cohort)


def test_what_a_patient_measured_changes_nothing_that_is_predicted_for_them() -> None:
    cohort = planted_spots(patients=6)
    own = cohort.patients == "P002"
    other = cohort.expression.copy()
    other[own] = 99
    near = find_neighbours(cohort, SPADE, 20)
    first, second = infer(cohort, near), infer(replace(cohort, expression=other), near)
    np.testing.assert_array_equal(first[own], second[own])
    assert (first[~own] != second[~own]).any()
    np.testing.assert_array_equal(organ_means(cohort)[own], organ_means(replace(cohort, expression=other))[own])


def test_prediction_is_the_softmax_weighted_mean_of_an_exact_search() -> None:
    cohort, k, temperature = planted_spots(patients=4, spots=6), 5, 0.3
    vectors = cohort.vectors[SPADE].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = np.empty(cohort.expression.shape)
    for row, vector in enumerate(vectors):
        cosines = np.where(cohort.patients == cohort.patients[row], -np.inf, vectors @ vector)
        best = np.argsort(-cosines)[:k]
        weights = np.exp(cosines[best] / temperature)
        wanted[row] = weights / weights.sum() @ cohort.expression[best]
    near = find_neighbours(cohort, SPADE, k)
    np.testing.assert_allclose(infer(cohort, near, temperature), wanted, rtol=1e-4)
    np.testing.assert_allclose(infer(cohort, near), impute(cohort.expression, near, "honest"), rtol=1e-6)


def test_correlations_are_those_of_numpy() -> None:
    cohort = planted_spots(patients=4, genes=70)
    predicted = infer(cohort, find_neighbours(cohort, SPADE, 10))
    found = pose_truth(cohort, rounds=3).correlate(predicted)
    over = [np.corrcoef(predicted[:, g], cohort.expression[:, g])[0, 1] for g in range(70)]
    np.testing.assert_allclose(found.spots[0], over, atol=1e-6)
    inside = [
        [np.corrcoef(predicted[own, g], cohort.expression[own, g])[0, 1] for g in range(70)]
        for own in (cohort.sections == name for name in np.unique(cohort.sections))
    ]
    np.testing.assert_allclose(found.sections, inside, atol=1e-6)
    scored = score_expression(only(cohort, SPADE, FEATURES), search=Search(neighbours=10))
    assert scored.score(SPADE).pearson.value == pytest.approx(np.mean(over), abs=1e-6)
    assert scored.score(SPADE).within.value == pytest.approx(np.mean(inside), abs=1e-6)


def test_the_draws_of_patients_are_the_same_inside_sections() -> None:
    """A draw that holds one patient alone has the mean of that patient's sections."""
    truth = pose_truth(planted_spots(patients=3, sections=2), rounds=40)
    found = truth.correlate(infer(truth.cohort, find_neighbours(truth.cohort, SPADE, 5)))
    drawn = truth.means(found, np.ones(6, np.bool_))["inside sections"][1:]
    by_patient = found.sections.reshape(3, 2, 6).mean(axis=(1, 2))
    wanted = truth.resamples.weights @ by_patient / 3
    np.testing.assert_allclose(drawn, wanted, atol=1e-9)


def test_the_length_of_vectors_and_the_order_of_spots_change_nothing() -> None:
    cohort = only(planted_spots(patients=6), SPADE, FEATURES)
    first = score_expression(cohort)
    lengths = np.random.default_rng(2).uniform(0.1, 100, size=(len(cohort), 1)).astype(np.float32)
    longer = replace(cohort, vectors={name: lengths * vectors for name, vectors in cohort.vectors.items()})
    turned = cohort.select(np.random.default_rng(3).permutation(len(cohort)))
    for other in (longer, turned):
        again = score_expression(other)
        for name in (SPADE, FEATURES):
            np.testing.assert_allclose(again.score(name).genes, first.score(name).genes, atol=1e-4)


def test_expression_as_keys_is_searched_by_pictures() -> None:
    cohort = planted_spots()
    rng = np.random.default_rng(4)
    lost = replace(cohort, keys={SPADE: rng.normal(size=cohort.keys[SPADE].shape).astype(np.float32)})
    good, bad = score_expression(cohort), score_expression(lost)
    assert good.score(SPADE, "expression").within.value > 0.6
    assert bad.score(SPADE, "expression").within.value < good.score(SPADE, "expression").within.value - 0.5
    assert bad.score(SPADE, "image") == good.score(SPADE, "image")
    assert {gain.word for gain in bad.gains_of("expression", "inside sections")} >= {"worse"}


def test_the_mean_of_the_organ_is_of_other_patients() -> None:
    cohort = planted_spots(patients=7)
    means = organ_means(cohort)
    row = 5
    others = (cohort.organs == cohort.organs[row]) & (cohort.patients != cohort.patients[row])
    np.testing.assert_allclose(means[row], cohort.expression[others].mean(axis=0), rtol=1e-5)
    lonely = cohort.select(np.isin(cohort.patients, ["P000", "P001", "P002", "P005"]))
    np.testing.assert_allclose(
        organ_means(lonely)[0], lonely.expression[lonely.patients != "P000"].mean(axis=0), rtol=1e-5
    )


def test_a_mean_that_is_wrong_by_construction_is_no_baseline() -> None:
    cohort = planted_spots()
    found = score_expression(replace(cohort, organs=np.full(len(cohort), "lung")))
    assert found.score(ORGAN_MEAN, None).pearson.value < 0
    assert {gain.baseline for gain in found.gains_of("image", "over all spots")} == {FEATURES, RANDOM_CLUSTERS}


def test_gene_that_nobody_expresses_is_left_out_of_every_mean() -> None:
    cohort = planted_spots()
    silent = cohort.expression.copy()
    silent[:, 2] = 0
    found = score_expression(replace(cohort, expression=silent))
    kept = score_expression(
        replace(
            cohort,
            genes=tuple(name for g, name in enumerate(cohort.genes) if g != 2),
            expression=np.delete(cohort.expression, 2, axis=1),
            expected=None,
        )
    )
    assert found.compared == 5 and np.isnan(found.score(SPADE).genes[2])
    assert found.score(SPADE).pearson.value == pytest.approx(kept.score(SPADE).pearson.value)
    with pytest.raises(CohortError, match="varies"):
        score_expression(replace(cohort, expression=np.zeros_like(cohort.expression)))


def test_routing_that_changes_nothing_is_said_to_change_nothing_and_noise_is_not() -> None:
    cohort = planted_spots()
    same = replace(cohort, vectors={SPADE: cohort.vectors[SPADE], HARD: 3 * cohort.vectors[SPADE]})
    one = compare_routing(same).variants[0]
    assert (one.name, one.same, one.shared) == (HARD, 1.0, 1.0)
    assert one.cosine == pytest.approx(1, abs=1e-6) and one.pearson.value == pytest.approx(0, abs=1e-6)
    other = replace(cohort, vectors={SPADE: cohort.vectors[SPADE], HARD: cohort.vectors[RANDOM_CLUSTERS]})
    two = compare_routing(other).variants[0]
    assert abs(two.cosine) < 0.2 and two.shared < 0.25 and two.pearson.high < 0


def test_variants_are_no_baselines() -> None:
    cohort = planted_spots()
    assert cohort.baselines(SPADE) == (FEATURES, RANDOM_CLUSTERS) and cohort.variants(SPADE) == (HARD,)
    found = score_expression(cohort)
    assert found.score(HARD).pearson.value > 0.7
    assert HARD not in {gain.baseline for gain in found.gains_of("image", "over all spots")}


def test_what_can_not_be_scored_is_refused() -> None:
    cohort = planted_spots(patients=3)
    with pytest.raises(CohortError, match="one patient"):
        score_expression(cohort.select(cohort.patients == "P001"))
    with pytest.raises(UsageError, match="image features"):
        score_expression(cohort, subject="UNI")
    with pytest.raises(CohortError, match="variant"):
        compare_routing(only(cohort, SPADE))


def test_section_of_the_card_has_every_part_and_names_no_patient() -> None:
    cohort = planted_spots(patients=10, sections=1, spots=8)
    slides = score_slides(cohort, "grade", networks=("ridge",), folds=2)
    section = spade_section(cohort, slides=[slides])
    text = "\n".join(section.lines)
    probes = ("Few-shot probes by patches", "Few-shot probes by slides")
    for title in ("Expression by retrieval", *probes, "Slide heads: grade", "Routing"):
        assert f"#### {title}" in text
    assert set(section.metrics) == {"expression", "few_shot", "slides", "routing"}
    assert not any(name in text or name in str(section.metrics) for name in np.unique(cohort.patients).tolist())


def test_figures_on_patients_who_taught_are_said_to_be_too_good() -> None:
    cohort = planted_spots(patients=4)
    seen = replace(cohort, taught={SPADE: 2})
    both = replace(cohort, taught={SPADE: 2, RANDOM_CLUSTERS: 1})
    told = "SPADE learned from 2 of these patients: its figures are too good."
    for score, render, figures in (
        (score_expression, render_expression, expression_figures),
        (lambda own: score_few_shot(own, "grade", shots=(1,), draws=2), render_few_shot, few_shot_figures),
        (compare_routing, render_routing, routing_figures),
    ):
        assert told in render(score(seen)).split("\n\n")[0] and "too good" not in render(score(cohort))
        assert figures(score(seen))["learned_from"] == {SPADE: 2} and figures(score(cohort))["learned_from"] == {}
    said = "SPADE learned from 2, random clusters learned from 1 of these patients: their figures are too good."
    assert said in render_expression(score_expression(both))
