"""How well a student agrees with its teacher, on patients that it did not learn from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.bundle import Agreement
from haiku_edge.runtime.engine import Engine
from haiku_edge.runtime.inference import infer_expression, retrieve
from haiku_edge.runtime.inference.gate import NEIGHBOURS, measure_change

from .sources import Expression, Group
from .views import Shelf, Teacher, embed

LEAST_TILES = 3
"""Tiles that a correlation needs."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The tiles of the patients held out, as both towers embed them.

    Attributes:
        groups: Whose tiles.
        teacher: (n, d) float32.
        student: (n, d) float32.
        measured: (n, m) float32 mean intensities, NaN where not measured.
    """

    groups: tuple[Group, ...]
    teacher: Vectors
    student: Vectors
    measured: Expression


def embed_held_out(groups: tuple[Group, ...], teacher: Teacher, student: Engine, shelf: Shelf, markers: int) -> HeldOut:
    """Embed the tiles of some groups by both towers."""
    wanted, got, known = [], [], []
    for group in groups:
        wanted.append(shelf.taught(group, teacher))
        got.append(embed(student, group.read()))
        nothing = np.full((len(got[-1]), markers), np.nan, np.float32)
        known.append(nothing if group.measured is None else group.measured())
    return HeldOut(groups, np.concatenate(wanted), np.concatenate(got), np.concatenate(known))


def measure_agreement(held_out: HeldOut, atlas: Atlas | None) -> Agreement:
    """Compare the two towers.

    Args:
        held_out: The tiles.
        atlas: The evidence; None leaves out what is told from neighbours.
    """
    cosines = np.einsum("nd,nd->n", held_out.teacher.astype(np.float64), held_out.student.astype(np.float64))
    counted = Agreement(
        tiles=len(cosines),
        slides=len({group.slide for group in held_out.groups}),
        patients=len({group.patient for group in held_out.groups}),
        cosine_least=_rounded(cosines.min()),
        cosine_mean=_rounded(cosines.mean()),
    )
    if atlas is None:
        return counted
    return counted.model_copy(update=_in_the_atlas(held_out, atlas))


def _in_the_atlas(held_out: HeldOut, atlas: Atlas) -> dict[str, float | None]:
    """What becomes of neighbours and biomarkers."""
    teacher, student = (_biomarkers(atlas, vectors) for vectors in (held_out.teacher, held_out.student))
    same = pearson(teacher, student)
    truth = [pearson(values, held_out.measured) for values in (teacher, student)]
    return {
        "neighbour_overlap": round(measure_change(atlas, held_out.student, held_out.teacher).overlap, 4),
        "biomarker_pearson": _mean(same),
        "biomarker_pearson_least": _rounded(np.nanmin(same)) if np.isfinite(same).any() else None,
        "truth_pearson_teacher": _mean(truth[0]),
        "truth_pearson_student": _mean(truth[1]),
    }


def pearson(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """(m,) Pearson correlations of the columns of two (n, m) arrays.

    Entries that either lacks (NaN) do not count; NaN where too few are left, or where one of the two is constant.
    """
    out = np.full(first.shape[1], np.nan)
    for column in range(first.shape[1]):
        known = np.isfinite(first[:, column]) & np.isfinite(second[:, column])
        a, b = first[known, column].astype(np.float64), second[known, column].astype(np.float64)
        if known.sum() >= LEAST_TILES and a.std() > 0 and b.std() > 0:
            out[column] = np.corrcoef(a, b)[0, 1]
    return out


def _biomarkers(atlas: Atlas, vectors: Vectors) -> NDArray[np.float32]:
    """(n, m) z of each tile's markers, from the H&E alone."""
    return infer_expression(atlas, retrieve(atlas, vectors, None, text_weight=0.0, neighbours=NEIGHBOURS)).value


def _mean(correlations: NDArray[np.float64]) -> float | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = np.nanmean(correlations)
    return _rounded(float(mean)) if np.isfinite(mean) else None


def _rounded(value: float) -> float:
    """To four digits, within what a correlation can be."""
    return round(float(np.clip(value, -1, 1)), 4)
