"""Slide heads on spots: the planted patients are told apart, and only by the representation that shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haiku_edge.export.evaluation.spade import (
    FEATURES,
    SPADE,
    SpotCohort,
    render_slides,
    score_slide_survival,
    score_slides,
    slide_figures,
)
from haiku_edge.export.evaluation.spade.slides import spot_bags
from haiku_edge.export.heads import settings as presets
from haiku_edge.export.heads.settings import MilSettings
from haiku_edge.runtime.errors import CohortError, UsageError
from tests.export.evaluation.spade.planted_spots import planted_spots


def telling_spots(patients: int = 36) -> SpotCohort:
    """SPADE shows the patient's hazard and grade, the image features do not."""
    rng = np.random.default_rng(0)
    cohort = planted_spots(patients=patients, sections=1, spots=5, genes=2)
    hazard = rng.normal(size=patients)
    death, end = rng.exponential(30 / np.exp(2 * hazard)), rng.uniform(20, 90, size=patients)
    owner = np.unique(cohort.patients, return_inverse=True)[1]
    noise = rng.normal(size=(2, len(cohort), 4))
    shown = 0.3 * noise[0]
    shown[:, 0] += hazard[owner]
    return replace(
        cohort,
        vectors={SPADE: shown.astype(np.float32), FEATURES: noise[1].astype(np.float32)},
        keys={},
        facts={
            name: {
                "grade": "high" if hazard[i] > 0 else "low",
                "survival": f"{min(death[i], end[i]):.2f}",
                "survival_status": "dead" if death[i] <= end[i] else "alive",
            }
            for i, name in enumerate(np.unique(cohort.patients).tolist())
        },
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The presets with small networks."""
    for name, (settings,) in [(name, presets.PRESETS[name]) for name in ("abmil", "abmil-hazards")]:
        assert isinstance(settings, MilSettings)
        small = replace(settings, width=8, attention=4, epochs=40, learning_rate=1e-2, batch=6)
        monkeypatch.setitem(presets.PRESETS, name, (small,))


@pytest.mark.usefixtures("quick")
def test_class_is_told_by_the_representation_that_shows_it() -> None:
    found = score_slides(telling_spots(), "grade", networks=("abmil", "ridge"), folds=2)
    value = {(score.name, score.network): score.figures["AUROC"].value for score in found.scores}
    for network in ("abmil", "ridge"):
        assert value[SPADE, network] > 0.85, network
        assert abs(value[FEATURES, network] - 0.5) < 0.3
    assert {one.gain.word for one in found.gains} == {"better"}
    text = render_slides(found)
    assert "SPADE earns its place by the AUROC of abmil." in text and "P003" not in text + str(slide_figures(found))


@pytest.mark.usefixtures("quick")
def test_survival_is_told_by_the_representation_that_shows_it() -> None:
    found = score_slide_survival(telling_spots(), networks=("abmil", "abmil-hazards", "ridge"), folds=2)
    value = {(score.name, score.network): score.figures["C-index"].value for score in found.scores}
    for network in ("abmil", "abmil-hazards", "ridge"):
        assert value[SPADE, network] > 0.62, network
        assert value[FEATURES, network] < value[SPADE, network]
    assert found.counts["died"] + found.counts["censored"] == found.patients == 36


def test_the_same_vectors_gain_nothing() -> None:
    cohort = telling_spots()
    twins = replace(cohort, vectors={SPADE: cohort.vectors[SPADE], FEATURES: cohort.vectors[SPADE]})
    gain = score_slides(twins, "grade", networks=("ridge",), folds=2).gains[0].gain
    assert gain.difference.value == 0 and gain.word == "no difference"


def test_bags_are_patients_row_by_row() -> None:
    cohort = planted_spots(patients=3)
    order = np.random.default_rng(1).permutation(len(cohort))
    bags = spot_bags(cohort.select(order), SPADE, np.array(["P002", "P000"]))
    np.testing.assert_array_equal(bags.bag(0), cohort.vectors[SPADE][cohort.patients == "P002"])
    np.testing.assert_array_equal(bags.bag(1), cohort.vectors[SPADE][cohort.patients == "P000"])


def test_what_can_not_be_asked_is_refused() -> None:
    cohort = planted_spots(patients=4)
    with pytest.raises(CohortError, match=r"Too few.*Ask for fewer --folds"):
        score_slides(cohort, "grade")
    with pytest.raises(CohortError, match=r"Too few.*2 folds need 4 of each kind. Add patients"):
        score_slides(cohort, "grade", folds=2)
    with pytest.raises(CohortError, match="no such fact"):
        score_slides(cohort, "no such fact")
    with pytest.raises(UsageError, match="preset"):
        score_slides(cohort, "grade", networks=("best",))
    for workers in (1, 2):
        with pytest.raises(UsageError, match="No head is named"):
            score_slides(telling_spots(), "grade", networks=(), folds=2, workers=workers)


def test_fewer_than_one_process_is_this_one() -> None:
    none, one = (
        score_slides(telling_spots(), "grade", networks=("ridge",), folds=2, workers=count) for count in (0, 1)
    )
    assert slide_figures(none) == slide_figures(one)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_processes_change_no_score() -> None:
    alone, beside = (
        score_slide_survival(telling_spots(), networks=("abmil", "ridge"), folds=3, workers=count) for count in (1, 2)
    )
    assert slide_figures(alone) == slide_figures(beside)
