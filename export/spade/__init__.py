"""SPADE's science: two-stage clustering of image features, and an expert trained on each cluster."""

from __future__ import annotations

from .cluster import Clusters, two_stage
from .cluster_file import read_clusters, write_clusters
from .elbow import draw_elbow, elbow

__all__ = ["Clusters", "draw_elbow", "elbow", "read_clusters", "two_stage", "write_clusters"]
