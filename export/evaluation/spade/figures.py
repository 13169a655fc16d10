"""The SPADE evaluation as JSON values."""

from __future__ import annotations

from collections.abc import Sequence

from ..tables import json_value, number
from .expression import ExpressionResult, ExpressionScore
from .few_shot import FewShotResult
from .routing import RoutingResult
from .slides import SlideResult
from .verdict import Gain


def expression_figures(result: ExpressionResult, *, genes: bool = True) -> dict[str, object]:
    """JSON values of expression by retrieval; the genes one by one only where they are asked for."""
    scores = [*result.scores, *([] if result.ceiling is None else [result.ceiling])]
    return {
        "subject": result.subject,
        "patients": result.patients,
        "sections": result.sections,
        "spots": result.spots,
        "genes": len(result.genes),
        "genes_compared": result.compared,
        "search": json_value(result.search),
        "scores": [_score(score, result.genes if genes else ()) for score in scores],
        "gains": [{"searched": one.keys, "measure": one.measure, **_gain(one.gain)} for one in result.gains],
        "neighbours": json_value(result.profile),
        "learned_from": dict(result.learned_from),
    }


def few_shot_figures(result: FewShotResult) -> dict[str, object]:
    """JSON values of few-shot probes."""
    return {
        "subject": result.subject,
        "label": result.label,
        "unit": result.unit,
        "classes": dict(result.classes),
        "patients": result.patients,
        "left_out": result.dropped,
        "scores": json_value(result.scores),
        "gains": [
            {"shots": one.shots, "balanced": _gain(one.balanced), "auroc": _gain(one.auroc)} for one in result.gains
        ],
        "learned_from": dict(result.learned_from),
    }


def slide_figures(result: SlideResult) -> dict[str, object]:
    """JSON values of slide heads."""
    return {
        "subject": result.subject,
        "question": result.question,
        "patients": result.patients,
        "counts": dict(result.counts),
        "left_out": result.left_out,
        "learned_from": dict(result.learned_from),
        "folds": result.folds,
        "scores": json_value(result.scores),
        "gains": [{"head": one.network, "figure": result.figure, **_gain(one.gain)} for one in result.gains],
    }


def routing_figures(result: RoutingResult) -> dict[str, object]:
    """JSON values of variants of routing."""
    found = json_value(result)
    assert isinstance(found, dict)
    return found


def _score(score: ExpressionScore, genes: Sequence[str]) -> dict[str, object]:
    values = {
        "name": score.name,
        "searched": score.keys,
        "over_all_spots": json_value(score.pearson),
        "inside_sections": json_value(score.within),
        "error": number(score.error),
    }
    if genes:
        values["genes"] = {name: number(value) for name, value in zip(genes, score.genes, strict=True)}
    return values


def _gain(gain: Gain) -> dict[str, object]:
    return {"less": gain.baseline, "difference": json_value(gain.difference), "verdict": gain.word}
