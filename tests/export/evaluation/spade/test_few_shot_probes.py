"""Few-shot probes: whom draws hold, and what they find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from haiku_edge.export.evaluation.spade import FEATURES, RANDOM_CLUSTERS, SPADE, render_few_shot, score_few_shot
from haiku_edge.export.evaluation.spade.draws import make_draws, make_items
from haiku_edge.export.evaluation.spade.few_shot import _figures, fit_few
from haiku_edge.runtime.errors import CohortError, UsageError
from tests.export.evaluation.spade.planted_spots import planted_spots


@pytest.mark.parametrize("unit", ["patches", "slides"])
def test_no_patient_teaches_and_tests_in_any_draw(unit: str) -> None:
    items = make_items(planted_spots(), "organ", "patches" if unit == "patches" else "slides")
    draws = make_draws(items.codes, items.patients, draws=30)
    tested = set()
    for draw in draws:
        taught = np.concatenate(draw.queues)
        assert not set(items.patients[taught]) & set(items.patients[draw.test])
        assert len(taught) + len(draw.test) == len(items.codes) == len({*taught.tolist(), *draw.test.tolist()})
        assert set(items.codes[draw.test].tolist()) == {0, 1, 2}
        tested |= set(items.patients[draw.test].tolist())
    assert tested == set(items.patients.tolist())


def test_shots_are_of_each_class_and_of_as_many_patients_as_there_are() -> None:
    items = make_items(planted_spots(patients=12), "organ", "patches")
    for draw in make_draws(items.codes, items.patients, draws=10):
        few, more = draw.taught(2), draw.taught(6)
        assert few is not None and more is not None
        assert np.bincount(items.codes[few]).tolist() == [2, 2, 2] and set(few) <= set(more)
        for code in range(3):
            own = items.patients[few[items.codes[few] == code]]
            assert len(set(own.tolist())) == 2
            _, counts = np.unique(items.patients[more[items.codes[more] == code]], return_counts=True)
            assert counts.tolist() == [2, 2, 2]
        assert draw.taught(10_000) is None


def test_label_that_lies_open_is_found_and_more_shots_find_more() -> None:
    found = score_few_shot(planted_spots(), "organ", shots=(1, 16), draws=10)
    figure = {(score.name, score.shots): score for score in found.scores}
    assert figure[SPADE, 16].auroc.mean > figure[SPADE, 1].auroc.mean + 0.05
    assert figure[SPADE, 16].auroc.mean > 0.75 and figure[SPADE, 16].balanced.mean > 0.5
    assert abs(figure[RANDOM_CLUSTERS, 16].auroc.mean - 0.5) < 0.07
    gains = {(gain.auroc.baseline, gain.shots): gain.auroc for gain in found.gains}
    assert gains[FEATURES, 16].word == gains[RANDOM_CLUSTERS, 16].word == "better"
    assert "With 16 a class: SPADE earns its place by AUROC." in render_few_shot(found)


def test_every_representation_gets_the_same_draws() -> None:
    cohort = planted_spots()
    twins = replace(cohort, vectors={SPADE: cohort.vectors[SPADE], FEATURES: 1000 * cohort.vectors[SPADE]})
    for gain in score_few_shot(twins, "organ", "slides", shots=(1, 4), draws=4).gains:
        assert gain.auroc.difference.value == pytest.approx(0, abs=1e-9)
        assert gain.auroc.word == "no difference"


def test_probe_is_the_published_one_and_its_auroc_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, size=60)
    vectors = rng.normal(size=(60, 10)) + codes[:, None] * (np.arange(10) == 0)
    model = fit_few(vectors, codes)
    assert pytest.approx(0.2) == model.C and model.max_iter == 10_000
    balanced, auroc = _figures(model, vectors, codes)
    assert auroc == pytest.approx(roc_auc_score(codes, model.predict_proba(vectors), multi_class="ovr"))
    recall = [(model.predict(vectors)[codes == c] == c).mean() for c in range(3)]
    assert balanced == pytest.approx(np.mean(recall))


def test_slide_is_the_mean_of_its_spots_and_counts_once() -> None:
    cohort = planted_spots(patients=6, sections=3)
    items = make_items(cohort, "organ", "slides")
    assert len(items.codes) == 18
    first = cohort.vectors[SPADE][cohort.sections == "S000"].mean(axis=0)
    np.testing.assert_allclose(items.vectors[SPADE][0], first, rtol=1e-5)
    found = score_few_shot(cohort, "organ", "slides", draws=3)
    assert {score.shots for score in found.scores} == {1, 2}, "two patients with three sections less one who tests"


def test_sections_of_two_patients_under_one_name_stay_two() -> None:
    cohort = planted_spots(patients=6, sections=1)
    alike = replace(cohort, sections=np.full(len(cohort), "A1"))
    np.testing.assert_array_equal(
        make_items(alike, "organ", "slides").vectors[SPADE], make_items(cohort, "organ", "slides").vectors[SPADE]
    )


def test_class_of_one_patient_is_left_out_and_one_class_is_refused() -> None:
    cohort = planted_spots(patients=7, sections=1)
    organs = cohort.organs.copy()
    organs[cohort.patients == "P006"] = "brain"
    items = make_items(replace(cohort, organs=organs.astype(np.str_)), "organ", "patches")
    assert "brain" not in items.classes and items.dropped == 12
    with pytest.raises(CohortError, match="classes"):
        score_few_shot(replace(cohort, organs=np.full(len(cohort), "lung")), "organ")
    with pytest.raises(CohortError, match="classes"):
        score_few_shot(cohort, "no such fact")
    with pytest.raises(UsageError, match="SPADE"):
        score_few_shot(cohort, "organ", subject="UNI")


def test_what_nobody_knows_is_no_class() -> None:
    cohort = planted_spots(patients=12, sections=1)
    unknown = dict(zip(("P000", "P001", "P002", "P003"), ("unknown", "NA", "nan", "Not reported"), strict=True))
    facts = {patient: {**own, "grade": unknown.get(patient, own["grade"])} for patient, own in cohort.facts.items()}
    partly = replace(cohort, facts=facts)
    assert set(partly.labels("grade").tolist()) == {"", "0", "1"}
    assert set(partly.patients[partly.labels("grade") == ""].tolist()) == set(unknown)
    items = make_items(partly, "grade", "patches")
    assert items.classes == ("0", "1") and items.dropped == 4 * 12
    organs = np.where(np.isin(cohort.patients, ["P000", "P001"]), "Unknown", cohort.organs)
    assert set(replace(cohort, organs=organs).labels("organ").tolist()) == {"", "breast", "lung", "skin"}
