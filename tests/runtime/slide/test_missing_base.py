"""A DICOM series that has lost its full-resolution instance is not read from what is left of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from haiku_edge.runtime.errors import IncompleteSlideError, ResolutionTooCoarseError
from haiku_edge.runtime.slide import open_slide
from haiku_edge.runtime.slide.grid import choose_level

from .painted import PaintedSlide
from .written_dicom import picture, write_slide

PASSTHROUGH = Path(__file__).resolve().parents[3] / "../shared/data/dicom/derived_from_svs/CMU_passthrough"
needs_data = pytest.mark.skipif(not PASSTHROUGH.exists(), reason="the shared slides are not here")


def copy_coarser(target: Path, widest: int) -> None:
    """The tissue images up to a width, and all that is no tissue image."""
    for file in PASSTHROUGH.iterdir():
        found = pydicom.dcmread(file, stop_before_pixels=True)
        if found.ImageType[2] != "VOLUME" or found.TotalPixelMatrixColumns <= widest:
            shutil.copyfile(file, target / file.name)


def objective(power: float | None) -> list[Dataset]:
    path = Dataset()
    path.ObjectiveLensPower = power
    return [path]


def spacing(millimetres: float) -> list[Dataset]:
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [millimetres, millimetres]
    shared.PixelMeasuresSequence = [measures]
    return [shared]


@needs_data
def test_dicom_that_is_too_coarse_may_have_lost_its_base_and_is_given_no_other_scale(tmp_path: Path) -> None:
    copy_coarser(tmp_path, 1110)
    slide = open_slide(tmp_path)
    with pytest.raises(ResolutionTooCoarseError, match="full-resolution instance of the DICOM series") as caught:
        choose_level(slide.info, 0.5)
    assert "--mpp" not in str(caught.value)
    slide.close()


def test_another_slide_that_is_too_coarse_may_state_a_wrong_scale() -> None:
    info = PaintedSlide([np.zeros((512, 512, 3), np.uint8)], mpp=(1, 1)).info
    with pytest.raises(ResolutionTooCoarseError, match="--mpp") as caught:
        choose_level(info, 0.5)
    assert "DICOM" not in str(caught.value)


@needs_data
def test_a_thumbnail_is_never_finer_than_the_slide(tmp_path: Path) -> None:
    copy_coarser(tmp_path, 555)
    with pytest.raises(IncompleteSlideError, match=r"full-resolution .* thumbnail"):
        open_slide(tmp_path)


@pytest.mark.parametrize("power, millimetres", [(40, 0.0005), (40, 0.00041), (80, 0.00025), (20, 0.001), (20, 0.00092)])
def test_an_image_twice_as_coarse_as_its_objective_gives_is_no_base(
    tmp_path: Path, power: float, millimetres: float
) -> None:
    path = write_slide(
        tmp_path / "s.dcm",
        picture(),
        OpticalPathSequence=objective(power),
        SharedFunctionalGroupsSequence=spacing(millimetres),
    )
    with pytest.raises(IncompleteSlideError, match=f"full-resolution .* {power}x"):
        open_slide(path)
    with pytest.raises(IncompleteSlideError):
        open_slide(path, mpp=millimetres * 500)  # what the missing base would have
    slide = open_slide(path, mpp=millimetres * 1000)  # what the file states: a scanner coarser than its objective
    assert slide.info.resolution.mean == pytest.approx(millimetres * 1000)
    slide.close()


@pytest.mark.parametrize(
    "power, millimetres", [(40, 0.00025), (40, 0.000274), (20, 0.0005), (20, 0.00024), (20, 0.000465), (None, 0.0005)]
)
def test_scanners_differ_from_the_rule_of_objectives(tmp_path: Path, power: float | None, millimetres: float) -> None:
    path = write_slide(
        tmp_path / "s.dcm",
        picture(),
        OpticalPathSequence=objective(power),
        SharedFunctionalGroupsSequence=spacing(millimetres),
    )
    open_slide(path).close()


def test_a_finest_image_that_was_resampled_has_a_finer_one_whatever_the_others_say(tmp_path: Path) -> None:
    write_slide(tmp_path / "1.dcm", picture(), ImageType=["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"])
    write_slide(tmp_path / "2.dcm", picture(150, 100), SharedFunctionalGroupsSequence=spacing(0.001))
    with pytest.raises(IncompleteSlideError, match="full-resolution"):
        open_slide(tmp_path)
