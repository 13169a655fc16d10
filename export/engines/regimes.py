"""The shapes that a plan is built for: one range, and the shape in it that is met most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from haiku_edge.runtime.engine.model import TowerModel
from haiku_edge.runtime.errors import EngineBuildError

Shapes = Mapping[str, tuple[int, ...]]
Ranges = Mapping[str, tuple[int, int, int]]
"""Name of a dynamic dimension → least, usual and most."""

RANGES: Final[Mapping[str, Ranges]] = {
    "he": {"batch": (1, 16, 64)},
    "text": {"batch": (1, 16, 64), "length": (2, 64, 200)},
    "mif": {"batch": (1, 8, 16), "channels": (1, 20, 54)},
}
"""Tower → its ranges. 64 rows are the run time's largest batch and 16 fill a GPU; a patch costs more than a tile.
A text has two special tokens, and at most 200; typical panels have 52 to 54 channels."""


@dataclass(frozen=True, slots=True)
class Regime:
    """A range of shapes: one optimisation profile.

    Attributes:
        least: Input name → smallest shape.
        usual: Input name → shape to be fastest at.
        most: Input name → largest shape.
    """

    least: Shapes
    usual: Shapes
    most: Shapes


def describe_ranges(ranges: Ranges) -> str:
    """For a fingerprint: 'batch 1..16..64, length 2..64..200'."""
    return ", ".join(f"{name} " + "..".join(map(str, sizes)) for name, sizes in sorted(ranges.items()))


def tower_regime(model: TowerModel, ranges: Ranges | None = None) -> Regime:
    """The shapes of a tower's inputs, from the names of its dynamic dimensions.

    Args:
        model: Its graph.
        ranges: Sizes of its dynamic dimensions; by default those of its tower in `RANGES`.

    Raises:
        EngineBuildError: The graph has a dynamic dimension that is not among them.
        BundleContentError: It is no ONNX graph.
    """
    # A machine that builds nothing has no library that reads graphs, and asks only for the ranges.
    from .weights import read_graph

    tower = "he" if model.tower.startswith("student-") else model.tower
    ranges = RANGES[tower] if ranges is None else ranges
    inputs = {i.name: list(i.type.tensor_type.shape.dim) for i in read_graph(model).graph.input}
    unknown = sorted({d.dim_param for dims in inputs.values() for d in dims if d.dim_param} - ranges.keys())
    if unknown:
        raise EngineBuildError(
            f"The {model.tower} tower has a dynamic dimension {unknown[0]!r}, whose size nobody knows. "
            "Export the bundle again."
        )
    least, usual, most = (
        {n: tuple(ranges[d.dim_param][end] if d.dim_param else d.dim_value for d in dims) for n, dims in inputs.items()}
        for end in range(3)
    )
    return Regime(least, usual, most)
