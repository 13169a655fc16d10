"""The sample run and its outputs, made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from haiku_edge.runtime.report import write_outputs

from . import sample


@pytest.fixture(scope="session")
def run() -> sample.Sample:
    """What a run found; not to be changed by a test."""
    return sample.build()


@pytest.fixture(scope="session")
def outputs(run: sample.Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sample's outputs; not to be changed by a test."""
    directory = tmp_path_factory.mktemp("out") / "demo"
    write_outputs(directory, run.result, run.tiles, run.images)
    return directory
