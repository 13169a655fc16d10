"""Coordinate transformations of SpatialData's elements, as matrices of x and y."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_systems(transformations: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """Name of a coordinate system → (3, 3) matrix that takes (x, y, 1) of an element to it.

    Raises:
        KeyError, TypeError, ValueError: A transformation is malformed or of an unknown kind.
    """
    return {str(step["output"]["name"]): _matrix(step) for step in transformations}


def apply(matrix: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) places (x, y), moved."""
    return np.asarray(places @ matrix[:2, :2].T + matrix[:2, 2])


def scale_of(matrix: NDArray[np.float64]) -> float:
    """By how much lengths grow; the geometric mean of both directions."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def _matrix(step: Mapping[str, Any]) -> NDArray[np.float64]:
    axes = [str(axis["name"]) for axis in step["input"]["axes"]] if "input" in step else None
    kind = step["type"]
    if kind in ("identity", "mapAxis"):
        return np.eye(3)
    if kind == "sequence":
        whole = np.eye(3)
        for part in step["transformations"]:
            whole = _matrix({**step, **part} if "input" not in part else part) @ whole
        return whole
    if axes is None:
        raise ValueError("a transformation names no axes")
    x, y = axes.index("x"), axes.index("y")
    if kind == "scale":
        return np.diag([float(step["scale"][x]), float(step["scale"][y]), 1.0])
    if kind == "translation":
        moved = np.eye(3)
        moved[:2, 2] = float(step["translation"][x]), float(step["translation"][y])
        return moved
    if kind == "affine":
        return _affine(np.asarray(step["affine"], np.float64), step, (x, y))
    raise ValueError(f"the transformation {kind!r} is not known")


def _affine(full: NDArray[np.float64], step: Mapping[str, Any], inputs: tuple[int, int]) -> NDArray[np.float64]:
    """Rows stand for the axes of the output, columns for those of the input and a constant."""
    axes = [str(axis["name"]) for axis in step["output"]["axes"]]
    rows = [axes.index("x"), axes.index("y")]
    matrix = np.eye(3)
    matrix[:2] = full[np.ix_(rows, [*inputs, full.shape[1] - 1])]
    return matrix
