"""Do the intervals cover what they promise, on patients that nothing was fitted to?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.inference.biomarkers import infer_expression
from haiku_edge.runtime.inference.calibration import calibrate, read_cases
from haiku_edge.runtime.inference.retrieve import retrieve


@dataclass(frozen=True, slots=True)
class CoverageScore:
    """Intervals of one marker on held-out patients.

    Attributes:
        marker: Its name.
        tile: Patient-weighted share of the tiles whose interval covers the measured value; NaN without an interval.
        tile_width: Half width of a tile's interval, in standard deviations of the atlas.
        slide: Share of the patients whose slide interval covers the measured mean.
        slide_width: Half width of a slide's interval.
    """

    marker: str
    tile: float
    tile_width: float
    slide: float
    slide_width: float


def score_coverage(
    bundle: Bundle,
    atlas: Atlas,
    he: NDArray[np.float32],
    text: NDArray[np.float32],
    measured: NDArray[np.float32],
    patients: NDArray[np.str_],
) -> tuple[CoverageScore, ...]:
    """Give held-out tiles the intervals that `predict` gives, and count; tiles that abstain have none.

    Args:
        bundle: Its calibration cases make the intervals.
        atlas: The evidence.
        he: (n, d) vectors of the H&E tiles.
        text: (n, d) vectors of their patients' notes.
        measured: (n, m) measured intensities, NaN where not measured.
        patients: (n,) whose tile each is.
    """
    retrieval = bundle.manifest.retrieval
    calibration = calibrate(
        atlas,
        read_cases(bundle, atlas),
        with_notes=True,
        text_weight=retrieval.text_weight,
        neighbours=retrieval.neighbours,
        coverage=bundle.manifest.need_calibration().coverage,
    )
    found = retrieve(atlas, he, text, text_weight=retrieval.text_weight, neighbours=retrieval.neighbours)
    alone = retrieve(atlas, he, None, text_weight=0, neighbours=1)
    error = infer_expression(atlas, found).value - (measured - atlas.mean) / atlas.std
    error[alone.he_similarity[:, 0] < calibration.similarity_threshold] = np.nan
    scores = []
    for m, marker in enumerate(atlas.markers):
        tile, slide = float(calibration.tile_half_width[m]), float(calibration.slide_half_width[m])
        own = [error[patients == patient, m] for patient in np.unique(patients)]
        own = [values[np.isfinite(values)] for values in own]
        covered = [float(np.mean(np.abs(values) <= tile)) for values in own if len(values)]
        means = [bool(abs(values.mean(dtype=np.float64)) <= slide) for values in own if len(values)]
        scores.append(CoverageScore(marker, _mean(covered, tile), tile, _mean(means, slide), slide))
    return tuple(scores)


def _mean(shares: list[float] | list[bool], width: float) -> float:
    """Mean share, or NaN where the interval is infinite or nobody was measured."""
    return float(np.mean(shares)) if shares and np.isfinite(width) else float("nan")
