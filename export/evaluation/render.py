"""An evaluation as Markdown tables (which read as plain text too) and as the numbers of a manifest."""

from __future__ import annotations

from typing import Any

from ..cohort import GALLERY_OVERLAP, GALLERY_PANELS, GALLERY_STRIDE
from ..synthetic import MARKERS
from .evaluate import INFORMATIVE, Evaluation
from .expression import InferenceScore
from .imputation import FORMS
from .render_tasks import render_galleries, render_retrieval
from .retrieval import FIGURES, PAIR, RetrievalScore
from .tables import json_value, number, shown, table


def render_evaluation(evaluation: Evaluation) -> str:
    """Write the evaluation as Markdown, one heading a task."""
    return "\n\n".join(f"### {title}\n\n{body}" for title, body in _parts(evaluation)) + "\n"


def _parts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Title and text of every part, in order."""
    return [
        ("Retrieval", _retrieval(evaluation)),
        ("Biomarkers from the atlas", _markers(evaluation)),
        ("Biomarkers under the four galleries", _galleries(evaluation)),
        ("Intervals", _coverage(evaluation)),
        *((section.title, "\n".join(section.lines)) for section in evaluation.sections),
    ]


def evaluation_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Turn the evaluation into JSON values for the manifest; what is not a number becomes null."""
    return {
        "patients": evaluation.patients,
        "patches": evaluation.patches,
        "retrieval": {
            f"{score.query}_to_{score.gallery}": _directions(score)
            for score in evaluation.retrieval
            if score.match == PAIR
        },
        "label_retrieval": {
            match: {
                f"{score.query}_to_{score.gallery}": _directions(score)
                for score in evaluation.retrieval
                if score.match == match
            }
            for match in dict.fromkeys(score.match for score in evaluation.retrieval)
            if match != PAIR
        },
        "pearson": {
            "informative_markers": len(evaluation.informative),
            "mean": {name: number(evaluation.mean(name)) for name in _CORRELATIONS},
            "markers": {
                score.marker: {name: number(getattr(score, name)) for name in _CORRELATIONS}
                for score in evaluation.markers
            },
        },
        "coverage": {
            "stated": evaluation.stated_coverage,
            "mean": {name: number(evaluation.mean_coverage(name)) for name in _COVERAGES},
            "markers": {
                score.marker: {name: number(getattr(score, name)) for name in _COVERAGES}
                for score in evaluation.coverage
            },
        },
        "gallery_cohort": {
            "patients": evaluation.galleries.patients,
            "regions": evaluation.galleries.regions,
            "patches": evaluation.galleries.patches,
        },
        "galleries": {
            name: {score.leave: _gallery(score) for score in evaluation.galleries.forms if score.name == name}
            for name in FORMS
        },
        **{section.name: dict(section.metrics) for section in evaluation.sections},
    }


def _directions(score: RetrievalScore) -> dict[str, Any]:
    """One direction: every figure at every length, and beside it what chance gives."""
    return {
        **{name: {str(k): number(one.value) for k, one in score.at[name].items()} for name in FIGURES},
        "chance": {str(k): number(value) for k, value in score.chance["recall"].items()},
        "mrr": json_value(score.mrr),
        "mean_rank": json_value(score.mean_rank),
        "median_rank": number(score.median_rank),
    }


def _gallery(score: InferenceScore) -> dict[str, Any]:
    """One form under one gallery."""
    return {
        "pearson": json_value(score.pearson),
        "spearman": json_value(score.spearman),
        "markers": {marker.marker: number(marker.pearson.value) for marker in score.markers},
    }


_CORRELATIONS = ("with_notes", "without_notes", "notes_only", "ceiling", "within")
_COVERAGES = ("tile", "tile_width", "slide", "slide_width")


def _retrieval(evaluation: Evaluation) -> str:
    head = f"{evaluation.patches} patches of {evaluation.patients} held-out patients."
    return head + " " + render_retrieval(evaluation.retrieval, evaluation.agreement)


def _markers(evaluation: Evaluation) -> str:
    rows = [
        (score.marker, str(score.patches), *(shown(getattr(score, name)) for name in _CORRELATIONS))
        for score in evaluation.markers
    ]
    count = len(evaluation.informative)
    rows.append(
        (f"mean of {count} informative", "", *(shown(evaluation.mean(name)) for name in _CORRELATIONS)),
    )
    head = (
        "Pearson correlation of inferred and measured expression, per tile. The ceiling is what the simulator itself "
        "expects from the visible cells and the clinical facts; a marker is informative where the ceiling is at least "
        f"{INFORMATIVE}. Within: inside one patient, mean over patients."
    )
    names = ("marker", "patches", "H&E + notes", "H&E alone", "notes alone", "ceiling", "within")
    return head + "\n\n" + table(names, rows)


def _galleries(evaluation: Evaluation) -> str:
    lacking = sum(len(panel) < len(MARKERS) for panel in GALLERY_PANELS)
    result = evaluation.galleries
    gaps = sum(marker.kept and marker.patches < result.patches for marker in result.forms[1].markers)
    head = (
        "Other regions of the held-out patients than in the rest of these tables, several of each, cut as the "
        f"published atlas is (patches {GALLERY_STRIDE} px apart, {100 * GALLERY_OVERLAP:.0f} % overlap). Of every "
        f"{len(GALLERY_PANELS)} patients {lacking} are stained with a panel that lacks markers: {gaps} of those in "
        "this mean are not measured everywhere."
    )
    return head + " " + render_galleries(result)


def _coverage(evaluation: Evaluation) -> str:
    rows = [(score.marker, *(shown(getattr(score, name)) for name in _COVERAGES)) for score in evaluation.coverage]
    rows.append(("mean", *(shown(evaluation.mean_coverage(name)) for name in _COVERAGES)))
    head = (
        f"Share of intervals that cover the measured value (stated: {evaluation.stated_coverage:.2f}), by tile and by "
        "slide, with half widths in standard deviations of the atlas."
    )
    return head + "\n\n" + table(("marker", "tile", "± tile", "slide", "± slide"), rows)
