"""Numbers as text: Markdown tables that read as plain text too, and JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass

import numpy as np

from .bootstrap import Estimate

NAMES = {"he": "H&E", "mif": "mIF", "text": "notes", "caption": "caption"}
"""Modalities as a reader knows them."""

DIGITS = 4
"""Digits of a number in JSON: more would claim what a few hundred patches can't show."""


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with columns of even width."""
    cells = [tuple(names), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    lines = [_line(row, widths) for row in cells]
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def shown(value: float, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def spanned(estimate: Estimate, digits: int = 2) -> str:
    """A figure with its interval, where it has one."""
    if not math.isfinite(estimate.low):
        return shown(estimate.value, digits)
    low, high = shown(estimate.low, digits), shown(estimate.high, digits)
    return f"{shown(estimate.value, digits)} [{low}, {high}]"


def number(value: float) -> float | None:
    """A number for JSON; what is not a number becomes null."""
    return round(float(value), DIGITS) if math.isfinite(value) else None


def json_value(value: object) -> object:
    """Dataclasses, mappings and sequences as JSON values, numbers rounded."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    return value


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """One row: the first column to the left, numbers to the right."""
    texts = [text.rjust(w) if i else text.ljust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))]
    return "| " + " | ".join(texts) + " |"
