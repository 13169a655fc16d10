"""Towers as ONNX graphs: export, strip, compare with torch."""

from __future__ import annotations

from .compare import GraphMismatchError, check_parity, compare_with_torch
from .convert import OPSET, export_he, export_mif, export_text, export_towers

__all__ = [
    "OPSET",
    "GraphMismatchError",
    "check_parity",
    "compare_with_torch",
    "export_he",
    "export_mif",
    "export_text",
    "export_towers",
]
