"""An evaluation as Markdown tables (which read as plain text too) and as the numbers of a manifest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .evaluate import INFORMATIVE, Evaluation
from .retrieval import CUTS

MODALITIES = {"he": "H&E", "mif": "mIF", "text": "notes"}
DIGITS = 4
"""Digits of a number in the manifest: more would claim what a few hundred patches can't show."""


def render_evaluation(evaluation: Evaluation) -> str:
    """Write the evaluation as Markdown."""
    return "\n\n".join((_retrieval(evaluation), _markers(evaluation), _coverage(evaluation))) + "\n"


def evaluation_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Turn the evaluation into JSON values for the manifest; what is not a number becomes null."""
    return {
        "patients": evaluation.patients,
        "patches": evaluation.patches,
        "retrieval": {
            f"{score.query}_to_{score.gallery}": {
                "recall": {str(k): _number(value) for k, value in score.recall.items()},
                "chance": {str(k): _number(value) for k, value in score.chance.items()},
            }
            for score in evaluation.retrieval
        },
        "pearson": {
            "informative_markers": len(evaluation.informative),
            "mean": {name: _number(evaluation.mean(name)) for name in _CORRELATIONS},
            "markers": {
                score.marker: {name: _number(getattr(score, name)) for name in _CORRELATIONS}
                for score in evaluation.markers
            },
        },
        "coverage": {
            "stated": evaluation.stated_coverage,
            "mean": {name: _number(evaluation.mean_coverage(name)) for name in _COVERAGES},
            "markers": {
                score.marker: {name: _number(getattr(score, name)) for name in _COVERAGES}
                for score in evaluation.coverage
            },
        },
    }


_CORRELATIONS = ("with_notes", "without_notes", "notes_only", "ceiling", "within")
_COVERAGES = ("tile", "tile_width", "slide", "slide_width")


def _retrieval(evaluation: Evaluation) -> str:
    rows = [
        (
            f"{MODALITIES[score.query]} → {MODALITIES[score.gallery]}",
            *(f"{score.recall[k]:.3f} ({score.chance[k]:.3f})" for k in CUTS),
        )
        for score in evaluation.retrieval
    ]
    head = (
        f"Retrieval among {evaluation.patches} patches of {evaluation.patients} held-out patients: recall of the very "
        "pair, chance in brackets. The notes are the same for all patches of a patient."
    )
    return head + "\n\n" + _table(("direction", *(f"recall@{k}" for k in CUTS)), rows)


def _markers(evaluation: Evaluation) -> str:
    rows = [
        (score.marker, str(score.patches), *(_shown(getattr(score, name)) for name in _CORRELATIONS))
        for score in evaluation.markers
    ]
    count = len(evaluation.informative)
    rows.append(
        (f"mean of {count} informative", "", *(_shown(evaluation.mean(name)) for name in _CORRELATIONS)),
    )
    head = (
        "Pearson correlation of inferred and measured expression, per tile. The ceiling is what the simulator itself "
        "expects from the visible cells and the clinical facts; a marker is informative where the ceiling is at least "
        f"{INFORMATIVE}. Within: inside one patient, mean over patients."
    )
    names = ("marker", "patches", "H&E + notes", "H&E alone", "notes alone", "ceiling", "within")
    return head + "\n\n" + _table(names, rows)


def _coverage(evaluation: Evaluation) -> str:
    rows = [(score.marker, *(_shown(getattr(score, name)) for name in _COVERAGES)) for score in evaluation.coverage]
    rows.append(("mean", *(_shown(evaluation.mean_coverage(name)) for name in _COVERAGES)))
    head = (
        f"Share of intervals that cover the measured value (stated: {evaluation.stated_coverage:.2f}), by tile and by "
        "slide, with half widths in standard deviations of the atlas."
    )
    return head + "\n\n" + _table(("marker", "tile", "± tile", "slide", "± slide"), rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with columns of even width."""
    cells = [tuple(names), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    lines = [_line(row, widths) for row in cells]
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """One row: the first column to the left, numbers to the right."""
    texts = [text.rjust(w) if i else text.ljust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))]
    return "| " + " | ".join(texts) + " |"


def _shown(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _number(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None
