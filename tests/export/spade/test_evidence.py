"""Who calibrates an atlas of spots, and whether they are enough for an interval."""

from __future__ import annotations

import numpy as np
import pytest

from haiku_edge.export.evaluation.spade import SPADE, SpotCohort
from haiku_edge.export.spade.embed import EmbeddedSpots
from haiku_edge.export.spade.evidence import COVERAGE, remark_on_cases, split_calibrating
from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.inference.conformal import least_patients, tile_quantile

FEW = "which is too few for any interval of 90 %: 9 patients are needed."


def _spots(patients: int) -> EmbeddedSpots:
    """Two spots of each patient."""
    names = np.repeat([f"P{number:02d}" for number in range(patients)], 2)
    numbers = np.arange(len(names), dtype=np.float32)
    cohort = SpotCohort(
        genes=("A",),
        spots=numbers.astype(np.str_),
        sections=names,
        patients=names,
        organs=np.full(len(names), "colon"),
        x=numbers,
        y=numbers,
        vectors={SPADE: numbers[:, None]},
        keys={},
        expression=numbers[:, None],
        facts={},
    )
    return EmbeddedSpots(cohort, np.ones((len(names), 1), np.float32))


def test_the_patients_needed_are_those_with_whom_a_tile_has_an_interval() -> None:
    """A new patient is at most the worst of n + 1 with probability n / (n + 1), which must reach the coverage."""
    needed = least_patients(COVERAGE)
    assert needed / (needed + 1) >= COVERAGE - 1e-12 > (needed - 1) / needed
    for patients, finite in ((needed - 1, False), (needed, True)):
        names = np.array([f"P{number}" for number in range(patients)])
        assert np.isfinite(tile_quantile(np.arange(1.0, patients + 1), names, COVERAGE)) == finite
    assert least_patients(0.8) == 4


@pytest.mark.parametrize(("patients", "count"), [(6, 1), (40, 8), (45, 9)])
def test_patients_set_aside_who_are_too_few_for_an_interval_are_told_as_that(patients: int, count: int) -> None:
    spots, cases, said = split_calibrating(_spots(patients), KnownPatients(), share=0.2, seed=0)
    assert cases is not None and len(spots.cohort) + len(cases.cohort) == 2 * patients
    assert said.startswith(f"{count} of {patients} patients, drawn with seed 0, calibrate{'s' if count == 1 else ''}")
    assert (FEW in said) == (count < 9) == ("--calibration" in said)


def test_nobody_who_calibrates_is_told_with_what_that_costs() -> None:
    known = KnownPatients.of_names([f"P{number:02d}" for number in range(5)])
    _, cases, said = split_calibrating(_spots(6), known, share=0.2, seed=0)
    assert cases is None and said.startswith("With 1 patient whom the experts do not know, none calibrates")
    assert "no value has an interval" in said


@pytest.mark.parametrize(("patients", "begins"), [(1, "1 patient of others calibrates,"), (8, "8 patients of others")])
def test_named_cases_of_too_few_patients_are_told_as_that(patients: int, begins: str) -> None:
    said = remark_on_cases(_spots(patients), "others")
    assert said is not None and said.startswith(begins) and FEW in said
    assert remark_on_cases(_spots(9), "others") is None
