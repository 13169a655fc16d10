"""A student's calibration cases are the bundle's own, tile for tile, and never a patient that it learned from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from haiku_edge.export.distill import Group
from haiku_edge.export.distill.calibration import calibration_patients, student_cases
from haiku_edge.export.distill.run import _without_calibration, open_teacher
from haiku_edge.export.distill.views import Shelf, embed
from haiku_edge.runtime.arrow import list_column, list_matrix, table_bytes
from haiku_edge.runtime.bundle import Bundle, CalibrationSection, open_bundle
from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.errors import CohortError
from tests.export.distill.painted_tiles import painted_groups
from tests.runtime.inference.bundles import rewrite
from tests.runtime.inference.students import mean_colour, student_graph

ORDER = np.array([5, 2, 7, 0, 3, 6, 1, 4])
"""Rows of the table, mixed, so that they have to be found."""


@pytest.fixture(scope="module")
def groups() -> tuple[Group, ...]:
    return painted_groups(2)


@pytest.fixture(scope="module")
def bundle(groups: tuple[Group, ...], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that these two patients calibrate."""
    engine, markers = open_teacher(open_bundle(None)).engine, len(open_bundle(None).manifest.need_atlas().markers)
    tiles = np.concatenate([group.read() for group in groups])[ORDER]
    he = embed(engine, tiles)
    table = pa.table(
        {
            "patient": pa.array([f"p{number // 4}" for number in ORDER]),
            "he": list_column(he),
            "text": list_column(he),
            "expression": list_column(np.arange(8 * markers, dtype=np.float32).reshape(8, markers)),
        }
    )
    section = CalibrationSection(file="calibration/cases.arrow", patients=2, cases=8)
    folder = tmp_path_factory.mktemp("calibrated") / "bundle"
    return open_bundle(rewrite(folder, {section.file: table_bytes(table)}, calibration=section))


def test_each_case_gets_the_students_vector_of_its_own_tile(
    bundle: Bundle, groups: tuple[Group, ...], tmp_path: Path
) -> None:
    student = plain_engine(student_graph())
    data = student_cases(bundle, groups, open_teacher(bundle), student, Shelf(tmp_path))
    table = pa.ipc.open_file(io.BytesIO(data)).read_all()
    tiles = np.concatenate([group.read() for group in groups])[ORDER]
    np.testing.assert_allclose(list_matrix(table, "he", np.float32), mean_colour(tiles), atol=1e-5)
    before = pa.ipc.open_file(io.BytesIO(bundle.read("calibration/cases.arrow"))).read_all()
    for name in ("patient", "text", "expression"):
        assert table[name] == before[name]


def test_a_case_without_its_tile_is_refused(bundle: Bundle, groups: tuple[Group, ...], tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="4 of the bundle's 8 calibration cases"):
        student_cases(bundle, groups[:1], open_teacher(bundle), plain_engine(student_graph()), Shelf(tmp_path))


def test_no_student_learns_from_a_calibration_patient(bundle: Bundle) -> None:
    said: list[str] = []
    usable = _without_calibration(bundle, painted_groups(4), said.append)
    assert {group.patient for group in usable} == {"p2", "p3"} and calibration_patients(bundle) == {"p0", "p1"}
    assert "2 slides or regions are of calibration patients" in said[0]
