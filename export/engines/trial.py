"""How fast an engine is on this machine: a short trial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.engine import Engine

AT_ONCE = 4
"""Items of a batch."""

LEAST_SECONDS = 1.0
LEAST_RUNS = 3

REHEARSAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Timing:
    """A measured rate.

    Attributes:
        items_per_second: Tiles, texts or patches a second, of the best run.
        batch: Items at once.
    """

    items_per_second: float
    batch: int


def rehearse(
    engine: Engine, inputs: Mapping[str, NDArray[Any]], batch: int, seconds: float = REHEARSAL_SECONDS
) -> None:
    """Run the batches of all sizes that a run ends with, so that what is compiled for them is compiled now.

    Args:
        engine: The engine.
        inputs: Golden inputs by name, one row an item.
        batch: The largest batch; then half of it, down to one row.
        seconds: When this is over, the rest is left to the first run.
    """
    began = time.monotonic()
    while batch and time.monotonic() - began < seconds:
        rows = np.arange(batch) % len(next(iter(inputs.values())))
        engine(**{name: array[rows] for name, array in inputs.items()})
        batch //= 2


def time_engine(engine: Engine, inputs: Mapping[str, NDArray[Any]], batch: int = AT_ONCE) -> Timing:
    """Time an engine on repeated golden inputs: one run to warm up, then the best of at least three.

    The best run counts: on a shared machine everything that disturbs makes a run longer, and nothing makes it shorter.

    Args:
        engine: The engine.
        inputs: By name, one row an item.
        batch: Items at once.
    """
    rows = np.arange(batch) % len(next(iter(inputs.values())))
    some = {name: array[rows] for name, array in inputs.items()}
    engine(**some)
    runs: list[float] = []
    while len(runs) < LEAST_RUNS or sum(runs) < LEAST_SECONDS:
        began = time.perf_counter()
        engine(**some)
        runs.append(time.perf_counter() - began)
    return Timing(round(batch / min(runs), 3), batch)
