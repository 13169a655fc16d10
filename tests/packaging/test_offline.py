"""The run time works where there is no network, and opens no socket where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLIDE = ROOT / "../shared/data/svs/CMU-1-Small-Region.svs"
NOTES = {"tissue_type": "Lung", "disease": "Lung Cancer", "sex": "F", "age": 68, "tnm": "T3N1M0", "stage": "IIIA"}

# Python imports a module of this name at every start, so the guard also holds in child processes.
GUARD = """
import socket

class Blocked(socket.socket):
    def __init__(self, *arguments, **keywords):
        raise RuntimeError("a socket was opened")

socket.socket = socket.SocketType = Blocked
socket.create_connection = socket.getaddrinfo = socket.socketpair = Blocked
"""


def _predict(folder: Path, wrapper: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    if not SLIDE.exists():
        pytest.skip("the shared slides are not beside the repository")
    if not (ROOT / "engines/embedded/bundle.json").exists():
        pytest.skip("the embedded bundle has not been made (make bundle)")
    notes = folder / "notes.json"
    notes.write_text(json.dumps(NOTES), encoding="utf-8")
    command = ("-m", "haiku_edge.cli", "predict", str(SLIDE), "--clinical", str(notes), "--out", str(folder / "out"))
    return subprocess.run(
        [*wrapper, sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, **environment},
    )


def _without_network() -> tuple[str, ...]:
    wrapper = ("unshare", "-rn")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine does not let a user make a network namespace (unshare -rn)")
    return wrapper


def _guarded(folder: Path) -> dict[str, str]:
    (folder / "guard").mkdir()
    (folder / "guard/sitecustomize.py").write_text(GUARD, encoding="utf-8")
    return {"PYTHONPATH": str(folder / "guard")}


def test_the_guard_stops_every_socket(tmp_path: Path) -> None:
    attempt = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    result = subprocess.run(
        [sys.executable, "-c", attempt],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **_guarded(tmp_path)},
    )
    assert "a socket was opened" in result.stderr


def test_predict_opens_no_socket(tmp_path: Path) -> None:
    result = _predict(tmp_path, (), _guarded(tmp_path))
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "out").rglob("report.html"))


@pytest.mark.slow
def test_predict_works_without_a_network(tmp_path: Path) -> None:
    result = _predict(tmp_path, _without_network(), {})
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "out").rglob("report.html"))
