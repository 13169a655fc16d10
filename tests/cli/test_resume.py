"""A killed run leaves no half result, and the next one goes on to the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from haiku_edge.export.synthetic import write_demo

SAME = ("tiles.parquet", "tiles.geojson.gz")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a slide of more than one chunk."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, width=6144, height=5120)
    return folder


def _start(demo: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "haiku_edge.cli", "predict", demo / "demo.svs"]
    return subprocess.Popen([*map(str, command), "--clinical", str(demo / "notes.json"), "--out", str(out)])


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    assert _start(demo, tmp_path / "whole").wait() == 0
    killed = tmp_path / "killed"
    run = _start(demo, killed)
    while not list(killed.glob("demo/.unfinished-*/*.npz")):
        assert run.poll() is None, "the run ended before its first chunk"
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (killed / "demo" / "result.json").exists()
    _wait_for_orphan(killed)
    assert _start(demo, killed).wait() == 0
    for name in SAME:
        assert (killed / "demo" / name).read_bytes() == (tmp_path / "whole" / "demo" / name).read_bytes()
    assert not list(killed.glob("demo/.unfinished-*"))


def _wait_for_orphan(out: Path) -> None:
    """The child of a killed parent gets a signal from the kernel; wait until it let go of its lock."""
    import fcntl

    with (out / "demo" / ".lock").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
