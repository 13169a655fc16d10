"""Small H&E towers that learn from a bundle's own, and are measured against it."""

from __future__ import annotations

from .loss import DistillLoss, relational_divergence
from .run import Distilled, Options, distill
from .sources import Group, dataset_groups, slide_groups

__all__ = [
    "DistillLoss",
    "Distilled",
    "Group",
    "Options",
    "dataset_groups",
    "distill",
    "relational_divergence",
    "slide_groups",
]
