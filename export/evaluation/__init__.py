"""Evaluation of a bundle on patients that nothing was fitted to."""

from __future__ import annotations

from .biomarkers import MarkerScore
from .coverage import CoverageScore
from .evaluate import Evaluation, evaluate_bundle
from .render import evaluation_metrics, render_evaluation
from .retrieval import RetrievalScore, recall_at, score_retrieval

__all__ = [
    "CoverageScore",
    "Evaluation",
    "MarkerScore",
    "RetrievalScore",
    "evaluate_bundle",
    "evaluation_metrics",
    "recall_at",
    "render_evaluation",
    "score_retrieval",
]
