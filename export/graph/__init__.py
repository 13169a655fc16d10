"""Towers as ONNX graphs: export, strip, compare with torch."""

from __future__ import annotations

from .compare import TITLES, GraphMismatchError, check_files, check_graph
from .convert import OPSET, export_towers, trace_tower
from .golden import golden_arrays, golden_inputs
from .store import GraphFiles, Storage, write_graph

__all__ = [
    "OPSET",
    "TITLES",
    "GraphFiles",
    "GraphMismatchError",
    "Storage",
    "check_files",
    "check_graph",
    "export_towers",
    "golden_arrays",
    "golden_inputs",
    "trace_tower",
    "write_graph",
]
