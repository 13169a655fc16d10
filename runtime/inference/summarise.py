"""From tiles to the slide: one row a marker, with its interval, or the reason why there is none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from ..report.schema import Biomarker
from ..report.schema_parts import CalibrationSection, Estimate
from .biomarkers import Expression
from .calibration import ABSTENTION_RATE, METHOD, Calibration
from .tiles import TileResults

# With less of the tissue supported by evidence, a mean over the rest would speak for a slide that it hasn't seen.
LEAST_SUPPORTED_SHARE = 0.25
_UNKNOWN = Estimate(value=None, low=None, high=None)


def summarise(
    atlas: Atlas,
    tiles: TileResults,
    calibration: Calibration,
    calibration_alone: Calibration,
    named: tuple[str, ...],
) -> list[Biomarker]:
    """Describe every marker of the atlas over the slide's predicted tiles."""
    refusal = why_the_slide_abstains(tiles)
    return [
        _biomarker(m, marker, atlas, tiles, calibration, calibration_alone, refusal, marker in named)
        for m, marker in enumerate(atlas.markers)
    ]


def describe_calibration(calibration: Calibration) -> CalibrationSection | None:
    """The calibration as the result states it; None where no patient calibrates."""
    if not calibration.patients:
        return None
    return CalibrationSection(
        method=METHOD,
        coverage=calibration.coverage,
        patients=calibration.patients,
        cases=calibration.cases,
        similarity_threshold=calibration.similarity_threshold,
        abstention_rate=ABSTENTION_RATE,
    )


def supported_share(tiles: TileResults) -> float:
    """Share of the searched tiles that have a prediction."""
    searched = int(np.isin(tiles.status, ("predicted", "abstained")).sum())
    return float((tiles.status == "predicted").sum()) / searched if searched else 0.0


def why_the_slide_abstains(tiles: TileResults) -> str | None:
    """Why nothing is said about the slide as a whole, or None where something is."""
    share = supported_share(tiles)
    if share >= LEAST_SUPPORTED_SHARE:
        return None
    return (
        f"only {100 * share:.0f} % of the tissue resembles anything in the atlas "
        f"(at least {100 * LEAST_SUPPORTED_SHARE:.0f} % is needed)"
    )


def _biomarker(
    m: int,
    marker: str,
    atlas: Atlas,
    tiles: TileResults,
    calibration: Calibration,
    calibration_alone: Calibration,
    refusal: str | None,
    named: bool,
) -> Biomarker:
    own = _column(tiles.expression, m)
    known = np.isfinite(own.value)
    share = _mean(own.measured) or 0.0
    if refusal is None and not known.any():
        refusal = "no neighbour of any tile measured it"
    if refusal is not None:
        unmeasured = known.sum() == 0 and (tiles.status == "predicted").any()
        return _unsaid(marker, "unmeasured" if unmeasured else "abstained", refusal, share, named)
    value = float(own.value[known].mean(dtype=np.float64))
    estimate = _estimate(value, calibration.slide_half_width[m])
    alone = tiles.without_notes[:, m]
    return Biomarker(
        marker=marker,
        status="predicted",
        reason=None if estimate.low is not None else _why_no_interval(calibration),
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        intensity=float(np.clip(atlas.mean[m] + value * atlas.std[m], 0, 255)),
        spread=_mean(own.spread),
        tile_p10=float(np.percentile(own.value[known], 10)),
        tile_p90=float(np.percentile(own.value[known], 90)),
        tiles=int(known.sum()),
        measured_share=share,
        without_notes=_estimate(_mean(alone), calibration_alone.slide_half_width[m]),
        named_in_notes=named,
    )


def _why_no_interval(calibration: Calibration) -> str:
    if not calibration.patients:
        return "no calibration patients, so there is no interval"
    return "too few calibration patients measured it for an interval"


def _unsaid(marker: str, status: str, reason: str, share: float, named: bool) -> Biomarker:
    return Biomarker.model_validate(
        {
            "marker": marker,
            "status": status,
            "reason": reason,
            "tiles": 0,
            "measured_share": share,
            "without_notes": _UNKNOWN.model_dump(),
            "named_in_notes": named,
        }
        | dict.fromkeys(("value", "low", "high", "intensity", "spread", "tile_p10", "tile_p90"))
    )


def _estimate(value: float | None, half_width: np.float32) -> Estimate:
    if value is None or not np.isfinite(half_width):
        return Estimate(value=value, low=None, high=None)
    return Estimate(value=value, low=value - float(half_width), high=value + float(half_width))


def _column(expression: Expression, m: int) -> Expression:
    return Expression(expression.value[:, m], expression.spread[:, m], expression.measured[:, m])


def _mean(values: NDArray[np.float32]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else None
