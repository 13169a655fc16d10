"""Towers as ONNX graphs: export, strip, compare with torch."""

from __future__ import annotations

from .compare import GraphMismatchError, check_files, check_parity, compare_with_torch
from .convert import OPSET, export_he, export_mif, export_text, export_towers, trace_tower
from .golden import golden_arrays, golden_inputs
from .store import GraphFiles, Storage, write_graph

__all__ = [
    "OPSET",
    "GraphFiles",
    "GraphMismatchError",
    "Storage",
    "check_files",
    "check_parity",
    "compare_with_torch",
    "export_he",
    "export_mif",
    "export_text",
    "export_towers",
    "golden_arrays",
    "golden_inputs",
    "trace_tower",
    "write_graph",
]
