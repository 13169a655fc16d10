"""Evaluation of a bundle on patients that nothing was fitted to, and the paper's tasks on any embedded cohort."""

from __future__ import annotations

from .biomarkers import MarkerScore
from .bootstrap import Estimate, draw_patients
from .coverage import CoverageScore
from .embedded_cohort import EmbeddedCohort, read_cohort, write_cohort
from .evaluate import Evaluation, embed_held_out, evaluate_bundle, hold_out, score_held_out, score_part
from .expression import BiomarkerResult, Setting, pose_problem, score_biomarkers
from .galleries import Gallery, atlas_gallery, own_gallery
from .held_out import HeldOut
from .knn import KnnResult, score_knn
from .render import evaluation_metrics, render_evaluation
from .retrieval import RetrievalScore, recall_at, score_retrieval
from .sections import Section
from .sweep import SweepResult, sweep_settings
from .tasks import biomarker_task, knn_task, retrieval_task, zero_shot_task
from .zero_shot import ZeroShotResult, score_zero_shot

__all__ = [
    "BiomarkerResult",
    "CoverageScore",
    "EmbeddedCohort",
    "Estimate",
    "Evaluation",
    "Gallery",
    "HeldOut",
    "KnnResult",
    "MarkerScore",
    "RetrievalScore",
    "Section",
    "Setting",
    "SweepResult",
    "ZeroShotResult",
    "atlas_gallery",
    "biomarker_task",
    "draw_patients",
    "embed_held_out",
    "evaluate_bundle",
    "evaluation_metrics",
    "hold_out",
    "knn_task",
    "own_gallery",
    "pose_problem",
    "read_cohort",
    "recall_at",
    "render_evaluation",
    "retrieval_task",
    "score_biomarkers",
    "score_held_out",
    "score_knn",
    "score_part",
    "score_retrieval",
    "score_zero_shot",
    "sweep_settings",
    "write_cohort",
    "zero_shot_task",
]
