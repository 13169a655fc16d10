"""What an export refuses before any work: parts of other scales, and patients on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.checkpoint.spade import SpadeCheckpoint
from haiku_edge.export.model import MixtureConfig
from haiku_edge.export.spade.guards import check_patches, check_scale, check_top, known_to_both, refuse_shared
from haiku_edge.export.spatial import DatasetSection, SpotDataset
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import KnownPatients, open_bundle, read_known_patients
from haiku_edge.runtime.errors import CohortError, PatchShapeError, UsageError
from haiku_edge.runtime.inference import read_cases


def _checkpoint(about: dict[str, object]) -> SpadeCheckpoint:
    config = MixtureConfig(features=2, width=2, experts=1, centroids=1)
    return SpadeCheckpoint(config, np.zeros((1, 2), np.float32), np.zeros(1, np.int64), (), about=about)


def _spots(mpp: float, patient: str = "P1") -> SpotDataset:
    section = DatasetSection("S", patient, "lung", 1, {}, "0000.arrow", "0" * 64)
    return SpotDataset(Path("spots"), "spots", ("A",), (section,), 224, mpp, synthetic=False)


def test_experts_and_spots_of_the_towers_scale_pass() -> None:
    check_scale(0.5, _checkpoint({"tile": {"size": 224, "mpp": 0.51}}))
    check_scale(0.25, _checkpoint({"form": "released"}))
    check_patches(0.5, 224, _spots(0.49))


def test_experts_of_another_scale_are_refused() -> None:
    with pytest.raises(UsageError, match="--mpp 1"):
        check_scale(0.5, _checkpoint({"tile": {"size": 224, "mpp": 1.0}}))


def test_spots_of_another_scale_or_too_small_are_refused() -> None:
    with pytest.raises(PatchShapeError, match=r"--mpp 0\.5"):
        check_patches(0.5, 224, _spots(1.0))
    with pytest.raises(PatchShapeError, match="--size 256"):
        check_patches(0.5, 256, _spots(0.5))


def test_a_patient_of_the_atlas_may_not_calibrate_it() -> None:
    refuse_shared(_spots(0.5), _spots(0.5, "P2"))
    with pytest.raises(CohortError, match="1 patients"):
        refuse_shared(_spots(0.5), _spots(0.5))


@pytest.mark.parametrize("top", [0, 2])
def test_more_experts_than_there_are_can_not_speak(top: int) -> None:
    check_top(None, _checkpoint({}))
    check_top(1, _checkpoint({}))
    with pytest.raises(UsageError, match="--top"):
        check_top(top, _checkpoint({}))


def test_whom_the_experts_know_may_not_calibrate_the_other_family() -> None:
    host = open_bundle()
    patients = read_cases(host, open_atlas(host, index="exact")).patients.tolist()
    stranger = KnownPatients.of_names(["somebody else"])
    assert set(known_to_both(host, stranger).train) == {*stranger.train, *read_known_patients(host).train}
    with pytest.raises(CohortError, match="1 patients who calibrate"):
        known_to_both(host, KnownPatients.of_names([patients[0], "somebody else"]))
