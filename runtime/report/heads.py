"""What the report and the command line show of trained heads: maps over the slide, and answers in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from . import numbers
from .colour import SCALE_LIMIT
from .heatmap import marker_values
from .schema import HeadFinding, Result

PREFIX = "head_"
"""How the columns of heads begin in `tiles.parquet`."""

_SETTINGS = "settings"
"""What a head was trained with; it stands in result.json."""

_FINE = 0.01
"""Below this, two decimals would round a figure away."""


@dataclass(frozen=True, slots=True)
class HeadMap:
    """One map of a head over the slide.

    Attributes:
        head: The head's name.
        label: What the map shows.
        values: (n,) float32 on the scale of the heatmaps, -1.5 to 1.5; NaN where the head read no tile.
        scale: Words for the left end, the middle and the right end of the colours.
    """

    head: str
    label: str
    values: NDArray[np.float32]
    scale: tuple[str, str, str]


def head_maps(result: Result, tiles: pa.Table) -> Iterator[HeadMap]:
    """The maps of all heads that answered.

    Attention is shown as its ratio to an equal share, in doublings: 0 is the share that every tile would have, and
    +1.5 is 2.8 times as much. A class of a tile classifier is shown as its probability, from 0 to 1.
    """
    for finding in result.heads:
        if finding.status != "predicted":
            continue
        if finding.kind != "tile_classifier":
            attention = marker_values(tiles, f"{PREFIX}{finding.name}_attention")
            yield HeadMap(finding.name, "Attention", _doublings(attention), ("a third", "equal share", "3 times"))
            continue
        for one in finding.classes:
            share = marker_values(tiles, f"{PREFIX}{finding.name}_{one.name}")
            values = ((share - 0.5) * 2 * SCALE_LIMIT).astype(np.float32)
            yield HeadMap(finding.name, one.name, values, ("0", "probability 0.50", "1"))


def _doublings(attention: NDArray[np.float32]) -> NDArray[np.float32]:
    read = np.isfinite(attention)
    ratio = np.where(read, attention, 1.0) * read.sum()
    values = np.log2(np.maximum(ratio, 2.0**-20))
    return np.where(read, values, np.nan).astype(np.float32)


def answer(finding: HeadFinding) -> str:
    """A head's answer in one line, with how sure it is; or why there is none."""
    if finding.status == "refused":
        return f"no answer: {finding.reason}"
    if finding.risk is not None:
        risk = finding.risk
        low, high = numbers.percentile(risk.low), numbers.percentile(risk.high)
        return f"risk percentile {numbers.percentile(risk.percentile)} ({low} to {high}), {risk.group} third"
    best = max(finding.classes, key=lambda one: one.probability)
    if finding.kind == "tile_classifier":
        return ", ".join(f"{one.name} {numbers.percent(one.probability)}" for one in finding.classes) + " of the tissue"
    possible = [one.name for one in finding.classes if one.in_set]
    return (
        f"{best.name}, probability {numbers.plain(best.probability)}; "
        f"{numbers.percent(finding.coverage)} set: {', '.join(possible)}"
    )


def metrics_in_words(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Measured figures as names and numbers, those with an interval first; how the head was trained is left out."""
    lines = list(_figures(metrics))
    return sorted(lines, key=lambda line: " to " not in line[1])


def _figures(metrics: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in metrics.items():
        name = f"{before}{key.replace('_', ' ')}"
        if not isinstance(value, Mapping):
            yield name, _figure(value)
        elif value.keys() == {"value", "low", "high"}:
            bounded = value["low"] is not None and value["high"] is not None
            ends = f" ({_figure(value['low'])} to {_figure(value['high'])})" if bounded else ""
            yield name, f"{_figure(value['value'])}{ends}"
        elif key != _SETTINGS:
            yield from _figures(value, f"{name} ")


def _figure(value: Any) -> str:
    """Two decimals where they tell anything."""
    return numbers.plain(value) if isinstance(value, float) and abs(value) >= _FINE else numbers.anything(value)
