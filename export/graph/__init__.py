"""Towers as ONNX graphs: export, strip, compare with torch."""

from __future__ import annotations

from .compare import TITLES, GraphMismatchError, check_files, check_graph
from .convert import OPSET, export_towers, trace_tower
from .golden import golden_arrays, golden_inputs
from .spade import EngineEncoder, check_spade, fuse, trace_spade
from .store import GraphFiles, Storage, write_graph

__all__ = [
    "OPSET",
    "TITLES",
    "EngineEncoder",
    "GraphFiles",
    "GraphMismatchError",
    "Storage",
    "check_files",
    "check_graph",
    "check_spade",
    "export_towers",
    "fuse",
    "golden_arrays",
    "golden_inputs",
    "trace_spade",
    "trace_tower",
    "write_graph",
]
