"""Does the inferred expression follow the measured one, and how much of it could be known at all?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.inference.biomarkers import infer_expression
from haiku_edge.runtime.inference.retrieve import retrieve


@dataclass(frozen=True, slots=True)
class MarkerScore:
    """One marker over the held-out patches that measured it.

    Attributes:
        marker: Its name.
        patches: Held-out patches that measured it.
        with_notes: Pearson correlation of the fused inference with the measured expression.
        without_notes: The same from the H&E alone.
        notes_only: The same from the notes alone, blind to the H&E.
        ceiling: Correlation of the simulator's own expectation, given the visible cells and the facts.
        within: Mean over patients of the correlation inside one patient, with notes.
    """

    marker: str
    patches: int
    with_notes: float
    without_notes: float
    notes_only: float
    ceiling: float
    within: float


def pearson(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Pearson correlation over the entries that both have; NaN where fewer than three, or one of them is constant."""
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3:
        return float("nan")
    a = first[known].astype(np.float64) - first[known].mean(dtype=np.float64)
    b = second[known].astype(np.float64) - second[known].mean(dtype=np.float64)
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 else float("nan")


def score_markers(
    atlas: Atlas,
    he: NDArray[np.float32],
    text: NDArray[np.float32],
    measured: NDArray[np.float32],
    expected: NDArray[np.float32],
    patients: NDArray[np.str_],
    *,
    text_weight: float,
    neighbours: int,
) -> tuple[MarkerScore, ...]:
    """Infer the held-out patches in three ways and correlate each with what was measured.

    Args:
        atlas: The evidence; holds none of the held-out patients.
        he: (n, d) vectors of the H&E tiles.
        text: (n, d) vectors of their patients' notes.
        measured: (n, m) measured expression, NaN where not measured.
        expected: (n, m) the simulator's expectation.
        patients: (n,) whose patch each is.
        text_weight: Weight of the notes in the fused query.
        neighbours: Neighbours that vote.
    """
    fused, alone, blind = (
        infer_expression(atlas, retrieve(atlas, he, text, text_weight=weight, neighbours=neighbours)).value
        for weight in (text_weight, 0.0, 1.0)
    )
    return tuple(
        MarkerScore(
            marker=marker,
            patches=int(np.isfinite(measured[:, m]).sum()),
            with_notes=pearson(fused[:, m], measured[:, m]),
            without_notes=pearson(alone[:, m], measured[:, m]),
            notes_only=pearson(blind[:, m], measured[:, m]),
            ceiling=pearson(expected[:, m], measured[:, m]),
            within=_within(fused[:, m], measured[:, m], patients),
        )
        for m, marker in enumerate(atlas.markers)
    )


def _within(inferred: NDArray[np.float32], measured: NDArray[np.float32], patients: NDArray[np.str_]) -> float:
    """Mean over patients of the correlation among a patient's own patches."""
    scores = [pearson(inferred[patients == p], measured[patients == p]) for p in np.unique(patients)]
    known = [score for score in scores if np.isfinite(score)]
    return float(np.mean(known)) if known else float("nan")
