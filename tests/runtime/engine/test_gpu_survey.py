"""The survey of GPUs says what is there, or in words why nothing is; it never raises."""

from __future__ import annotations

import ctypes
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from haiku_edge.runtime.engine.gpu import survey
from haiku_edge.runtime.engine.gpu.survey import (
    find_gpus,
    find_tensorrt,
    read_driver_version,
    serves,
    why_bindings_do_not_fit,
    why_no_driver,
)

PROPRIETARY = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021
GCC version:  gcc version 9.3.0 (Ubuntu 9.3.0-17ubuntu1~20.04)
"""
OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)
GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2~24.04)
"""


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(_has_driver(), reason="this machine has an NVIDIA driver")
def test_a_machine_without_a_driver_says_so() -> None:
    survey = find_gpus()
    assert (survey.usable, survey.gpus, survey.reason) == (False, (), "no NVIDIA driver")
    assert survey.bindings == importlib.metadata.version("cuda-bindings")


@pytest.mark.skipif(_has_driver(), reason="this machine has an NVIDIA driver")
def test_what_cuda_itself_answers_without_a_driver_becomes_a_reason() -> None:
    gpus, reason = survey._ask_cuda("470.82.01", "13.5.0")
    assert (gpus, reason) == ((), "the driver 470.82.01 is older than CUDA 13 needs (580)")


@pytest.mark.gpu
@pytest.mark.skipif(not _has_driver(), reason="no GPU")
def test_a_gpu_is_described_as_its_own_tool_describes_it() -> None:
    command = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
    survey = find_gpus()
    assert survey.usable
    assert [survey.gpus[0].name, survey.gpus[0].capability, survey.driver] == told


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (PROPRIETARY, "470.82.01"),
        (OPEN, "580.65.06"),
        ("NVRM version: NVIDIA UNIX aarch64 Kernel Module  575.57  Mon\n", "575.57"),
        ("GCC version:  gcc version 9.3.0\n", ""),
        ("", ""),
        ("\0" * 5000 + PROPRIETARY, ""),
    ],
)
def test_the_drivers_own_file_tells_its_version(text: str, version: str) -> None:
    assert read_driver_version(text) == version


@pytest.mark.parametrize(
    ("bindings", "driver", "reason"),
    [
        ("13.5.0", "470.82.01", "the driver 470.82.01 is older than CUDA 13 needs (580)"),
        ("13.0.0", "575.57", "the driver 575.57 is older than CUDA 13 needs (580)"),
        ("12.9.0", "470.82.01", "the driver 470.82.01 is older than CUDA 12 needs (525.60)"),
        ("13.5.0", "580.65.06", ""),
        ("12.9.0", "525.60.13", ""),
        ("12.9.0", "535.288.01", ""),
        ("13.5.0", "", ""),
        ("", "580.65.06", 'cuda-bindings is not installed: pip install "haiku-edge[rtx]"'),
    ],
)
def test_a_driver_too_old_is_named_with_what_is_needed(bindings: str, driver: str, reason: str) -> None:
    assert why_bindings_do_not_fit(bindings, driver) == reason


def test_half_a_driver_is_told_from_none() -> None:
    assert why_no_driver(module=False, library=False, driver="") == "no NVIDIA driver"
    assert "libcuda.so.1 does not load" in why_no_driver(module=True, library=False, driver="580.65")
    assert why_no_driver(module=True, library=True, driver="580.65") == ""
    assert why_no_driver(module=False, library=True, driver="") == ""


def test_the_version_of_tensorrt_is_found_without_importing_it() -> None:
    code = "import sys\nfrom haiku_edge.runtime.engine.gpu.survey import find_tensorrt\nprint(find_tensorrt())\n"
    code += "print([name for name in sys.modules if name.startswith(('tensorrt', 'cuda.'))])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    versions, imported = result.stdout.splitlines()
    assert imported == "[]"
    try:
        stated = importlib.metadata.version("tensorrt_rtx_cu13_bindings")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("TensorRT-RTX is not installed")
    assert f"'tensorrt_rtx': '{stated}'" in versions


def test_bindings_without_their_libraries_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "tensorrt_bindings"
    package.mkdir()
    (package / "__init__.py").write_text('raise ImportError("libnvinfer.so.11")\n__version__ = "11.4.0"\n')
    monkeypatch.syspath_prepend(tmp_path)
    before = find_tensorrt().get("tensorrt", "")
    (tmp_path / "tensorrt_libs").mkdir()
    (tmp_path / "tensorrt_libs" / "__init__.py").write_text("")
    assert before == ""
    assert find_tensorrt()["tensorrt"] == "11.4.0"


@pytest.mark.parametrize(
    ("kind", "capability", "tried", "documented"),
    [
        ("tensorrt_rtx", "7.5", True, True),
        ("tensorrt_rtx", "8.0", True, False),
        ("tensorrt_rtx", "8.6", True, True),
        ("tensorrt_rtx", "8.9", True, True),
        ("tensorrt_rtx", "9.0", True, False),
        ("tensorrt_rtx", "10.0", True, False),
        ("tensorrt_rtx", "12.0", True, True),
        ("tensorrt_rtx", "12.1", True, True),
        ("tensorrt_rtx", "6.1", False, False),
        ("tensorrt", "9.0", True, True),
        ("tensorrt", "7.0", False, False),
        ("onnxruntime-cuda", "9.0", True, True),
    ],
)
def test_what_is_not_documented_is_said_to_be_tried(kind: str, capability: str, tried: bool, documented: bool) -> None:
    support = serves(kind, capability)
    assert (support.tried, support.documented) == (tried, documented)
    assert capability in support.reason
    assert ("not known, tried" in support.reason) == (tried and not documented)
