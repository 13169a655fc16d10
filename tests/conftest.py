"""A small simulated slide with its notes, and the command line as a user runs it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.synthetic import MPP, render_region, simulate_cohort, write_svs

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def own_cache_of_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test takes an engine from the developer's own cache, or leaves one there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAIKU_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SVS of 1280 × 1024 px: simulated tissue in a margin of glass."""
    patient = simulate_cohort(3, seed=41)[2]
    image = np.full((1024, 1280, 3), 243, np.uint8)
    image[128:896, 128:1152] = render_region(patient, 1024, 768).he
    path = tmp_path_factory.mktemp("slide") / "small.svs"
    write_svs(path, image, mpp=MPP)
    return path


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ordinary clinical facts."""
    path = tmp_path_factory.mktemp("notes") / "notes.json"
    facts = {"tissue_type": "Lung", "disease": "Lung cancer", "sex": "female", "age": 68, "grade": 3, "stage": "IIIA"}
    path.write_text(json.dumps(facts))
    return path


@pytest.fixture
def haiku_edge(tmp_path: Path) -> Run:
    """Runs `haiku-edge ARGUMENTS` in a process of its own, in an empty folder."""

    def run(*arguments: object, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "haiku_edge.cli", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env={**os.environ, **variables}
        )

    return run


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the operating system refuse longer files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
