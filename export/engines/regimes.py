"""The shapes that a plan is built for: ranges, and the shape in each that is met most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from haiku_edge.runtime.bundle import MifTower, TextTower
from haiku_edge.runtime.engine.model import TowerFiles, TowerModel
from haiku_edge.runtime.errors import EngineBuildError

Shapes = Mapping[str, tuple[int, ...]]
Ranges = Mapping[str, tuple[int, int, int]]
"""Name of a dynamic dimension → least, usual and most."""

MOST_ROWS: Final = 64
"""The run time's largest batch of tiles or texts; 16 fill a GPU."""

TYPICAL_TOKENS: Final = 200
TYPICAL_CHANNELS: Final = 54
"""The published text tower reads at most 200 tokens; typical panels have 52 to 54 channels."""

MOST_CHANNELS: Final = 256
"""No panel in use has more; a tower's marker table may."""

_TEXT_CELLS = MOST_ROWS * TYPICAL_TOKENS
_PATCH_ROWS = 16
"""A patch costs more than a tile."""

_PATCH_CELLS = _PATCH_ROWS * TYPICAL_CHANNELS
"""Rows times channels at most: what larger panels have more of channels they have less of rows, and memory stays."""


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


def tile_ranges() -> tuple[Ranges, ...]:
    """For an H&E tower."""
    return ({"batch": (1, 16, MOST_ROWS)},)


def text_ranges(longest: int = TYPICAL_TOKENS) -> tuple[Ranges, ...]:
    """For a text tower that reads at most `longest` tokens, two of them special ones."""
    rows = max(1, min(MOST_ROWS, _TEXT_CELLS // longest))
    return ({"batch": (1, min(16, rows), rows), "length": (2, min(64, longest), longest)},)


def patch_ranges(markers: int = TYPICAL_CHANNELS) -> tuple[Ranges, ...]:
    """For an mIF tower that knows so many markers: typical panels, and larger ones in smaller batches.

    No panel has more channels than the tower has markers; in one range for all, either typical panels would wait for
    rows, or the memory would be that of full batches of the largest.
    """
    typical, largest = min(markers, TYPICAL_CHANNELS), min(markers, MOST_CHANNELS)
    found: list[Ranges] = [{"batch": (1, 8, _PATCH_ROWS), "channels": (1, min(20, typical), typical)}]
    if largest > typical:
        rows = max(1, _PATCH_CELLS // largest)
        found.append({"batch": (1, max(1, rows // 2), rows), "channels": (typical + 1, largest, largest)})
    return tuple(found)


def section_ranges(section: TowerFiles) -> tuple[Ranges, ...]:
    """The ranges of a bundle's tower, from what its manifest says: one optimisation profile each."""
    if isinstance(section, TextTower):
        return text_ranges(section.max_length)
    if isinstance(section, MifTower):
        return patch_ranges(len(section.markers))
    return tile_ranges()


def usual_ranges(tower: str) -> tuple[Ranges, ...]:
    """The ranges of a tower of which only the kind is known: he, text, mif or the name of a student."""
    return {"text": text_ranges, "mif": patch_ranges}.get(tower, tile_ranges)()


def most_rows(ranges: Sequence[Ranges]) -> int:
    """The largest batch in any of them."""
    return max(each["batch"][-1] for each in ranges)


def describe_ranges(ranges: Sequence[Ranges]) -> str:
    """For a fingerprint: 'batch 1..16..64, length 2..64..200'; several with ' or ' between."""
    return " or ".join(
        ", ".join(f"{name} " + "..".join(map(str, sizes)) for name, sizes in sorted(each.items())) for each in ranges
    )


def tower_regimes(model: TowerModel, ranges: Sequence[Ranges] = ()) -> list[Regime]:
    """The shapes of a tower's inputs, from the names of its dynamic dimensions.

    Args:
        model: Its graph.
        ranges: Sizes of its dynamic dimensions, one optimisation profile each; those usual for its kind by default.

    Raises:
        EngineBuildError: The graph has a dynamic dimension that is not among them.
        BundleContentError: It is no ONNX graph.
    """
    # A machine that builds nothing has no library that reads graphs, and asks only for the ranges.
    from .weights import read_graph

    inputs = {i.name: list(i.type.tensor_type.shape.dim) for i in read_graph(model).graph.input}
    return [_regime(model.tower, inputs, each) for each in ranges or usual_ranges(model.tower)]


def _regime(tower: str, inputs: Mapping[str, Sequence[Any]], ranges: Ranges) -> Regime:
    unknown = sorted({d.dim_param for dims in inputs.values() for d in dims if d.dim_param} - ranges.keys())
    if unknown:
        raise EngineBuildError(
            f"The {tower} tower has a dynamic dimension {unknown[0]!r}, whose size nobody knows. "
            "Export the bundle again."
        )
    least, usual, most = (
        {n: tuple(ranges[d.dim_param][end] if d.dim_param else d.dim_value for d in dims) for n, dims in inputs.items()}
        for end in range(3)
    )
    return Regime(least, usual, most)
