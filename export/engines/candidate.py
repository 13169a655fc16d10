"""An engine that could be built: what it is, and what builds it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from haiku_edge.runtime.engine import TowerModel
from haiku_edge.runtime.errors import EngineBuildError
from haiku_edge.runtime.inference.gate import CALIBRATING
from haiku_edge.runtime.inference.progress import Progress

from .trial import AT_ONCE

Inputs = Mapping[str, NDArray[Any]]
Build = Callable[[TowerModel, Path, Inputs, int, Progress], None]
"""Writes an engine's files into a folder: the tower, the folder, golden inputs, threads, progress."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that could be built.

    Attributes:
        engine: Which engine.
        precision: What it computes in, with the recipe where there are several.
        build: Writes its files.
        profile: Shapes that it is built for; empty where it takes any.
        settles: Candidates of the same word are left out once this one has passed; empty where all are tried.
        batch: Items at once while it is timed, and at most when it runs on a GPU.
        towers: Towers that it is for.
        on_request: Built only where its precision is asked for.
        otherwise: Builds the same engine in a plainer way, where `build` or what it built is refused.
    """

    engine: str
    precision: str
    build: Build
    profile: str = ""
    settles: str = ""
    batch: int = AT_ONCE
    towers: tuple[str, ...] = ("he", "text", "mif")
    on_request: bool = False
    otherwise: Build | None = None


def as_it_is(model: TowerModel, folder: Path, inputs: Inputs, threads: int, progress: Progress) -> None:
    """Nothing to build: the engine takes the tower's own graph."""


@contextlib.contextmanager
def needing_onnx() -> Iterator[None]:
    """A lean installation lacks the library that reads graphs."""
    try:
        yield
    except ImportError as error:
        raise EngineBuildError(
            f"{error.name} is not installed, so no other precision can be derived. Install haiku-edge[openvino], or "
            "build with --precision fp32."
        ) from error


def calibrating_rows(inputs: Inputs) -> list[dict[str, NDArray[Any]]]:
    """The calibrating cases one by one: a full-size tower's ranges then take no more memory than one tile."""
    count = len(next(iter(inputs.values())))
    rows = range(count)[CALIBRATING]
    return [{name: array[row : row + 1] for name, array in inputs.items()} for row in rows]
