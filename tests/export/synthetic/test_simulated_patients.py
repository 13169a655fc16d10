"""Facts of simulated patients agree with each other, and survival follows the stated hazard."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.export.synthetic import edit_patient, log_hazard, simulate_cohort
from haiku_edge.export.synthetic.demo import DEMO_SEED
from haiku_edge.export.synthetic.patient import draw_patient
from haiku_edge.export.synthetic.staging import stage_group
from haiku_edge.export.synthetic.vocabulary import Organ
from haiku_edge.runtime.errors import UsageError

COHORT = simulate_cohort(1500, 4)


def test_metastases_are_stage_four_and_stage_four_without_m1_is_only_head_and_neck() -> None:
    for patient in COHORT:
        spread = patient.facts["tnm"].endswith("M1")
        if spread:
            assert patient.facts["stage"] == "IV"
        elif patient.facts["stage"].startswith("IV"):
            assert patient.facts["tissue_type"] == "Head and Neck"
        if patient.facts["type"] == "metastasis":
            assert spread


@pytest.mark.parametrize(
    ("organ", "tnm", "group"),
    [
        (Organ.COLON, "T3 N0 M0", "IIA"),
        (Organ.COLON, "T4 N2 M0", "IIIC"),
        (Organ.BREAST, "T2 N1 M0", "IIB"),
        (Organ.BREAST, "T4 N0 M0", "IIIB"),
        (Organ.LUNG, "T2 N0 M0", "IB"),
        (Organ.LUNG, "T1 N2 M0", "IIIA"),
        (Organ.HEAD_AND_NECK, "T4 N0 M0", "IVA"),
        (Organ.COLON, "T1 N0 M1", "IV"),
    ],
)
def test_stage_groups_are_those_of_the_tnm_classification(organ: Organ, tnm: str, group: str) -> None:
    assert stage_group(organ, tnm) == group


def test_stage_never_falls_when_the_tumour_grows_or_spreads() -> None:
    order = ["I", "IA", "IB", "IIA", "II", "IIB", "IIIA", "III", "IIIB", "IIIC", "IVA", "IV"]
    for organ in Organ:
        for nodes in range(3):
            ranks = [order.index(stage_group(organ, f"T{size} N{nodes} M0")) for size in range(1, 5)]
            assert ranks == sorted(ranks), (organ, nodes)


def test_notes_agree_with_what_is_stored_beside_them() -> None:
    for patient in COHORT:
        assert patient.facts["tissue_type"] == patient.organ
        assert (patient.facts["survival_status"] == "dead") == patient.died
        assert abs(float(patient.facts["survival"].split()[0]) - patient.months) <= 0.5
        assert int(patient.facts["grade"]) == patient.biology.grade
        assert patient.hazard == log_hazard(patient.biology)


def test_a_higher_hazard_means_an_earlier_death() -> None:
    hazard = np.array([patient.hazard for patient in COHORT])
    months = np.array([patient.months for patient in COHORT])
    died = np.array([patient.died for patient in COHORT])
    comparable = died[:, None] & (months[:, None] < months[None])
    concordance = (hazard[:, None] > hazard[None])[comparable].mean()
    assert concordance > 0.7


def test_deaths_come_at_the_rate_that_the_hazard_states() -> None:
    # The cumulative hazard at the end of follow-up sums to the number of deaths (a martingale residual of zero).
    cumulative = sum(0.012 * np.exp(patient.hazard) * patient.months for patient in COHORT)
    deaths = sum(patient.died for patient in COHORT)
    assert abs(cumulative - deaths) < 4 * np.sqrt(deaths)


def test_a_cohort_is_the_beginning_of_a_larger_one_and_other_seeds_give_other_patients() -> None:
    assert simulate_cohort(5, 4) == COHORT[:5]
    assert simulate_cohort(5, 5)[0].facts != COHORT[0].facts


def test_the_demonstration_patient_is_in_no_cohort() -> None:
    demo = draw_patient("DEMO", (DEMO_SEED, 0))
    assert all(demo.entropy != patient.entropy for patient in simulate_cohort(50, DEMO_SEED))


def test_editing_tnm_brings_the_stage_along() -> None:
    patient = next(patient for patient in COHORT if patient.organ == "Breast" and patient.biology.stage == 1)
    edited = edit_patient(patient, {"tnm": "T4 N2 M1"})
    assert edited.facts["stage"] == "IV"
    assert edited.biology.stage == 4
    assert edited.hazard > patient.hazard
    assert edited.biology.infiltration == patient.biology.infiltration


@pytest.mark.parametrize("edits", [{"grade": "7"}, {"mood": "good"}, {"tnm": "Tis"}, {"tissue_type": "Moon"}])
def test_facts_that_the_simulator_does_not_know_are_refused(edits: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        edit_patient(COHORT[0], edits)


def test_an_empty_cohort_is_refused() -> None:
    with pytest.raises(UsageError):
        simulate_cohort(0, 1)
