"""Libraries that would phone home are kept from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _python(code: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean)


def test_telemetry_is_off_before_onnx_runtime_is_loaded() -> None:
    code = (
        "import builtins, os, sys; real = builtins.__import__\n"
        "def watch(name, *a, **k):\n"
        "    if name == 'onnxruntime' and name not in sys.modules: print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return real(name, *a, **k)\n"
        "builtins.__import__ = watch\n"
        "import haiku_edge.runtime.engine"
    )
    assert _python(code).stdout.split() == ["1"]


def test_sockets_and_look_ups_are_refused_but_for_local_ones() -> None:
    code = (
        "import socket, _socket; from haiku_edge.runtime.offline import refuse_sockets\n"
        "refuse_sockets(); socket.socketpair()\n"
        "for attempt in (lambda: socket.socket(socket.AF_INET), lambda: socket.socket(socket.AF_INET6),\n"
        "                _socket.socket,\n"
        "                lambda: socket.getaddrinfo('localhost', 80), lambda: socket.gethostbyname('localhost')):\n"
        "    try: attempt()\n"
        "    except PermissionError: print('refused')"
    )
    assert _python(code).stdout.split() == ["refused"] * 5


def test_predict_makes_no_internet_call_not_even_from_native_code(
    small_slide: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed, so system calls can't be counted")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=network", "-o", str(trace), sys.executable, "-m", "haiku_edge.cli"]
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    done = subprocess.run(
        [*command, "predict", str(small_slide), "--clinical", str(notes), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("this machine does not let a user trace a process")
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in trace.read_text()
