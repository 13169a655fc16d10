"""Heads on top of the towers: linear probes, attention MIL, MIL Cox survival.

The patient is the unit of every fold, score and interval. Settings are chosen in inner folds, measured in outer ones,
and the head that ships brings its out-of-fold scores along.
"""

from __future__ import annotations

from .attach import add_heads, check_addition
from .classify import ClassEvaluation, evaluate_classes
from .embedded import SyntheticClasses, SyntheticSurvival, embedded_heads, score_classifier, score_survival
from .probes import ProbeEvaluation, evaluate_probes
from .render import (
    class_figures,
    probe_figures,
    render_classes,
    render_head,
    render_probes,
    render_survival,
    render_synthetic_classes,
    render_synthetic_survival,
    survival_figures,
)
from .settings import PRESETS, MilSettings, RidgeSettings, Settings, preset
from .survival import SurvivalEvaluation, evaluate_survival
from .train import TrainedHead, check_dimension, train_slide_head, train_survival_head, train_tile_head

__all__ = [
    "PRESETS",
    "ClassEvaluation",
    "MilSettings",
    "ProbeEvaluation",
    "RidgeSettings",
    "Settings",
    "SurvivalEvaluation",
    "SyntheticClasses",
    "SyntheticSurvival",
    "TrainedHead",
    "add_heads",
    "check_addition",
    "check_dimension",
    "class_figures",
    "embedded_heads",
    "evaluate_classes",
    "evaluate_probes",
    "evaluate_survival",
    "preset",
    "probe_figures",
    "render_classes",
    "render_head",
    "render_probes",
    "render_survival",
    "render_synthetic_classes",
    "render_synthetic_survival",
    "score_classifier",
    "score_survival",
    "survival_figures",
    "train_slide_head",
    "train_survival_head",
    "train_tile_head",
]
