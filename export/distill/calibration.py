"""The bundle's calibration cases as a student embeds them."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from haiku_edge.runtime.arrow import list_column, list_matrix, table_bytes
from haiku_edge.runtime.bundle import Bundle, CalibrationSection
from haiku_edge.runtime.engine import Engine
from haiku_edge.runtime.errors import CohortError

from .sources import Group
from .views import Shelf, Teacher, embed

SAME = 0.9999
"""Least cosine of a case's vector with that of its own tile: the same tower on another processor gives no less."""


def calibration_patients(bundle: Bundle) -> frozenset[str]:
    """Pseudonyms of the patients who calibrate the bundle, those of its genes too: no student learns from them."""
    manifest = bundle.manifest
    sections = (manifest.calibration, None if manifest.spade is None else manifest.spade.calibration)
    return frozenset(
        patient
        for section in sections
        if section is not None
        for patient in _table(bundle, section)["patient"].to_pylist()
    )


def student_cases(bundle: Bundle, groups: tuple[Group, ...], teacher: Teacher, student: Engine, shelf: Shelf) -> bytes:
    """The calibration table with the student's H&E vectors in place of the teacher's.

    A case and its tile find each other by the teacher's vector: the tile's own is that of the case.

    Args:
        bundle: The bundle; it has calibration patients.
        groups: The tiles of these patients, and perhaps others.
        teacher: The bundle's tower.
        student: The student's engine.
        shelf: Keeps the teacher's vectors.

    Raises:
        CohortError: A case's tile is not among them.
    """
    table = _table(bundle, bundle.manifest.need_calibration())
    patients, wanted = np.array(table["patient"].to_pylist()), list_matrix(table, "he", np.float32)
    found = np.zeros_like(wanted)
    missing = np.ones(len(wanted), np.bool_)
    for group in (group for group in groups if group.patient in set(patients.tolist())):
        taught, learned = shelf.taught(group, teacher), embed(student, group.read())
        rows = np.flatnonzero((patients == group.patient) & missing)
        best, cosine = _nearest(wanted[rows], taught)
        hit = rows[cosine >= SAME]
        found[hit], missing[hit] = learned[best[cosine >= SAME]], False
    if missing.any():
        raise CohortError(
            f"{int(missing.sum())} of the bundle's {len(wanted)} calibration cases have no tile among those given: "
            "intervals of the student can't be made from some of them. Give the H&E patches that the bundle was "
            "calibrated with, or leave --calibration out; estimates of the student then have no intervals."
        )
    return table_bytes(table.set_column(table.column_names.index("he"), "he", list_column(found)))


def _table(bundle: Bundle, section: CalibrationSection) -> pa.Table:
    return pa.ipc.open_file(io.BytesIO(bundle.read(section.file))).read_all()


def _nearest(
    queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each unit vector the row of the nearest, and their cosine."""
    cosines = queries @ vectors.T
    best = cosines.argmax(axis=1)
    return best, cosines[np.arange(len(queries)), best]
