"""What a run warns of where calibration patients are too few for intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.inference.biomarkers import Expression
from haiku_edge.runtime.inference.calibration import Calibration, uncalibrated
from haiku_edge.runtime.inference.remarks import evidence_remarks
from haiku_edge.runtime.inference.tiles import TileResults
from tests.runtime.inference.small_atlas import small_atlas, unit

TILES, MARKERS = 6, 9


def _atlas() -> Atlas:
    rng = np.random.default_rng(2)
    return small_atlas(rng.normal(size=(8, 6)), rng.uniform(10, 90, (8, MARKERS)))


def _tiles(unknown: tuple[int, ...] = (), abstained: int = 0) -> TileResults:
    """Tiles, of which the first abstain and the others are predicted; `unknown` markers have no value."""
    rng = np.random.default_rng(1)
    value = rng.normal(size=(TILES, MARKERS)).astype(np.float32)
    value[:, list(unknown)] = np.nan
    return TileResults(
        origins=np.zeros((TILES, 2), np.int32),
        status=np.array(["abstained"] * abstained + ["predicted"] * (TILES - abstained)),
        tissue=np.ones(TILES, np.float32),
        vectors=unit(rng.normal(size=(TILES, 6))),
        similarity=np.full(TILES, 0.5, np.float32),
        percentile=np.full(TILES, 50, np.float32),
        expression=Expression(value, np.abs(value), np.ones_like(value)),
        without_notes=value,
        row_of={tile: tile for tile in range(TILES)},
    )


def _calibration(patients: int, without: tuple[int, ...] = ()) -> Calibration:
    half = np.full(MARKERS, 0.5, np.float32)
    half[list(without)] = np.inf
    return Calibration(0.9, patients, patients, half, half, 0.2, np.ones(1, np.float32), np.ones(1))


def _remarks(calibration: Calibration, unknown: tuple[int, ...] = (), measure: str = "protein") -> list[str]:
    atlas = replace(_atlas(), measure=measure)
    return evidence_remarks(atlas, None, 5, _tiles(unknown), calibration)


@pytest.mark.parametrize(("measure", "kind"), [("protein", "marker"), ("gene", "gene")])
def test_too_few_patients_are_a_warning_that_names_what_rests_on_them(measure: str, kind: str) -> None:
    (one,) = _remarks(_calibration(1, tuple(range(MARKERS))), measure=measure)
    assert one.startswith(f"No {kind} has an interval: 1 calibration patient is too few") and "at least 9" in one
    assert "abstain" in one and "percentile" in one and one.count(". ") == 0
    (eight,) = _remarks(_calibration(8, tuple(range(MARKERS))), measure=measure)
    assert "8 calibration patients are too few" in eight


@pytest.mark.parametrize("measure", ["protein", "gene"])
def test_nobody_who_calibrates_is_a_warning(measure: str) -> None:
    (text,) = _remarks(uncalibrated(MARKERS), measure=measure)
    assert text.startswith("No patient calibrates") and "no intervals" in text


def test_enough_patients_who_measured_everything_are_no_warning() -> None:
    assert _remarks(_calibration(9)) == []


def test_markers_without_an_interval_are_named_and_many_counted() -> None:
    (one,) = _remarks(_calibration(9, (4,)))
    assert one == "No interval for M4: fewer than 9 calibration patients measured it."
    (many,) = _remarks(_calibration(9, tuple(range(8))))
    assert many == "No interval for M0, M1, M2, M3, M4 and 3 others: fewer than 9 calibration patients measured each."
    (none,) = _remarks(_calibration(12, tuple(range(MARKERS))), measure="gene")
    assert none == "No gene has an interval: fewer than 9 calibration patients measured each."


def test_strange_tissue_casts_doubt_on_intervals_only_where_there_are_any() -> None:
    for patients, without, doubted in ((9, (), "intervals"), (1, tuple(range(MARKERS)), "estimates")):
        strange, *_ = evidence_remarks(_atlas(), None, 5, _tiles(abstained=2), _calibration(patients, without))
        assert strange.startswith("33 % of the tissue") and f"{doubted} need not hold" in strange


def test_a_marker_without_a_value_needs_no_interval() -> None:
    assert _remarks(_calibration(9, (4,)), unknown=(4,)) == []
