"""Simulated spots as datasets: the parts share no patient with each other or with the H&E tower's cohort."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.cohort import QUICK_SPLIT, Split
from haiku_edge.export.spatial import decode_patch, log_normalise
from haiku_edge.export.spatial.from_simulator import (
    PARTS,
    QUICK_SPOT_SPLIT,
    SpotPart,
    SpotSplit,
    simulate_spots,
)
from haiku_edge.export.synthetic import simulate_cohort
from haiku_edge.export.synthetic.spots import GENES, render_spots

SEED = 3
TINY = SpotSplit(train=2, atlas=1, calibration=1, test=1, regions=2, side=448, size=128)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpotPart, Path]:
    cache = tmp_path_factory.mktemp("spots")
    return simulate_spots("train", TINY, SEED, cache, processes=1), cache


@pytest.mark.parametrize("split", [SpotSplit(), QUICK_SPOT_SPLIT, TINY])
def test_no_patient_is_in_two_parts_or_was_seen_by_the_embedded_towers(split: SpotSplit) -> None:
    cohort = simulate_cohort(split.patients, 7)
    parts = [[cohort[place] for place in split.part(name)] for name in PARTS]
    assert [len(part) for part in parts] == [split.train, split.atlas, split.calibration, split.test]
    named = [patient.identifier for part in parts for patient in part]
    streams = [patient.entropy for part in parts for patient in part]
    towers = [
        cohort[place]
        for own in (Split(), QUICK_SPLIT)
        for name in ("train", "atlas", "calibration", "test")
        for place in own.part(name)
    ]
    assert len(set(named)) == len(set(streams)) == len(named)
    assert not set(named) & {patient.identifier for patient in towers}
    assert not set(streams) & {patient.entropy for patient in towers}
    assert simulate_cohort(Split().patients, 7) == cohort[: Split().patients]


def test_the_dataset_holds_what_the_simulator_counted(drawn: tuple[SpotPart, Path]) -> None:
    part, patient = drawn[0], simulate_cohort(TINY.patients, SEED)[TINY.part("train")[1]]
    about = next(own for own in part.dataset.sections if own.section == f"{patient.section}-R2")
    own = part.dataset.read(about.section)
    spots = render_spots(patient, TINY.side, region=1, size=TINY.size)
    assert part.dataset.synthetic
    assert part.dataset.genes == GENES
    assert (about.patient, about.organ, dict(about.facts)) == (patient.identifier, patient.organ, patient.facts)
    assert np.array_equal(own.counts.toarray(), spots.counts)
    assert np.array_equal(own.library, spots.counts.sum(axis=1))
    assert own.x == pytest.approx(spots.centres[:, 0] / 2)
    assert own.y == pytest.approx(spots.centres[:, 1] / 2)
    for jpeg, patch in zip(own.patches, spots.patches, strict=True):
        assert np.abs(decode_patch(jpeg).astype(int) - patch).mean() < 3


def test_the_truth_of_every_section_lies_beside_it_in_the_units_of_the_counts(drawn: tuple[SpotPart, Path]) -> None:
    part = drawn[0]
    for about in part.dataset.sections:
        own, truth = part.dataset.read(about.section), part.read_truth(about.section)
        logs = log_normalise(own.counts, own.library)
        for said in (truth.expected, truth.expected_without_facts, truth.patch_expected):
            assert said.shape == logs.shape
            assert np.corrcoef(said.ravel(), logs.ravel())[0, 1] > 0.7
        assert np.corrcoef(truth.expected.ravel(), logs.ravel())[0, 1] > 0.85


def test_a_part_is_drawn_once_and_another_split_is_another_part(drawn: tuple[SpotPart, Path]) -> None:
    part, cache = drawn
    again = simulate_spots("train", TINY, SEED, cache, processes=1)
    assert again == part
    assert len(list(cache.iterdir())) == 1
    other = simulate_spots("test", replace(TINY, regions=1), SEED, cache, processes=1)
    assert other.dataset.path != part.dataset.path
    assert {own.patient for own in other.dataset.sections}.isdisjoint(own.patient for own in part.dataset.sections)


@pytest.mark.slow
def test_processes_change_nothing(drawn: tuple[SpotPart, Path], tmp_path: Path) -> None:
    twice = simulate_spots("train", TINY, SEED, tmp_path, processes=2)
    assert [own.sha256 for own in twice.dataset.sections] == [own.sha256 for own in drawn[0].dataset.sections]
