"""The small interval plots beside the markers, as numbers that the template draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .schema import Biomarker

PLOT_WIDTH = 220
"""Width in units of the drawing."""

_PADDING = 4
_ROOM = 1.08
"""The axis reaches this much farther than what is drawn, so that no dot touches the end."""

_FINE, _COARSE = 0.5, 1.0
_FINE_UP_TO = 1.5
"""Distance of ticks in z, and the reach of an axis up to which the finer one stays readable."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A symmetric axis in z, one for all markers, so that plots can be compared down the column.

    Attributes:
        limit: z at both ends.
    """

    limit: float

    def x(self, z: float) -> float:
        """Position of a value in units of the drawing, to a tenth."""
        half = PLOT_WIDTH / 2 - _PADDING
        return round(PLOT_WIDTH / 2 + half * z / self.limit, 1)

    @property
    def ticks(self) -> tuple[tuple[float, float], ...]:
        """(position, z) of round values from left to right, zero among them."""
        step = _FINE if self.limit <= _FINE_UP_TO else _COARSE * math.ceil(self.limit / 4)
        reach = math.floor(self.limit / step)
        return tuple((self.x(step * number), step * number) for number in range(-reach, reach + 1))


@dataclass(frozen=True, slots=True)
class IntervalPlot:
    """Positions on the axis; None where there is nothing to draw.

    Attributes:
        value: The estimate.
        low: Lower end of its interval.
        high: Upper end of its interval.
        without_notes: The estimate without notes.
    """

    value: float | None
    low: float | None
    high: float | None
    without_notes: float | None


def axis_for(biomarkers: Sequence[Biomarker]) -> Axis:
    """The least axis that holds every value and interval, and at least one tick to each side."""
    return axis_over(
        value for item in biomarkers for value in (item.value, item.low, item.high, item.without_notes.value)
    )


def axis_over(values: Iterable[float | None]) -> Axis:
    """The least axis that holds every value in z, and at least one tick to each side."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return Axis(_ROOM * max(_FINE, largest))


def interval_plot(item: Biomarker, axis: Axis) -> IntervalPlot:
    """Where one marker's dot, bar and hollow dot lie."""
    return plot_of(axis, item.value, item.low, item.high, item.without_notes.value)


def plot_of(
    axis: Axis, value: float | None, low: float | None, high: float | None, without_notes: float | None = None
) -> IntervalPlot:
    """Where the parts of a plot lie; all in z."""
    value, low, high, without_notes = (None if z is None else axis.x(z) for z in (value, low, high, without_notes))
    return IntervalPlot(value, low, high, without_notes)
