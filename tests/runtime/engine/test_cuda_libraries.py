"""What ONNX Runtime's CUDA provider computes with is part of an engine's fingerprint: found in wheels, or asked."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from haiku_edge.runtime.engine import machine
from haiku_edge.runtime.engine.gpu.libraries import (
    cublas_version,
    cuda_libraries,
    cudart_version,
    cudnn_version,
    tf32_override,
)
from haiku_edge.runtime.engine.gpu.survey import Gpu, GpuSurvey
from haiku_edge.runtime.engine.machine import Machine

STUB = """
int cublasGetProperty(int part, int *value) { int parts[] = {13, 1, 2}; *value = parts[part]; return part > 2; }
unsigned long cudnnGetVersion(void) { return 91203; }
int cudaRuntimeGetVersion(int *value) { *value = 13020; return 0; }
"""
GPUS = GpuSurvey("580.65", "13.0", (Gpu("a GPU", "8.9", 1 << 30),), {"tensorrt": "11.4.0", "tensorrt_rtx": "1.7.1"})


def wheel(folder: Path, name: str, version: str) -> None:
    """What an installed wheel leaves for others to read."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_wheel_tells_the_version_before_the_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cuda_libraries("13.0")
    wheel(tmp_path, "nvidia-cublas", "77.1.0.3")
    wheel(tmp_path, "nvidia-cudnn-cu13", "78.2.0.46")
    wheel(tmp_path, "nvidia-cuda-runtime", "79.3")
    monkeypatch.syspath_prepend(tmp_path)
    assert cuda_libraries("13.0") == "cuBLAS 77.1.0.3, cuDNN 78.2.0.46, CUDA run time 79.3"
    wheel(tmp_path, "nvidia-cublas-cu12", "12.9")
    assert "cuBLAS 77.1.0.3 and 12.9" in cuda_libraries("13.0")
    assert before.count(",") == 2


def test_without_wheels_the_libraries_say_it_themselves(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    (tmp_path / "stub.c").write_text(STUB)
    library = tmp_path / "libstub.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "stub.c")], check=True)
    asked = [ask(str(library)) for ask in (cublas_version, cudnn_version, cudart_version)]
    assert asked == ["13.1.2", "9.12.3", "13.2"]


def test_a_library_that_is_not_there_or_is_another_says_nothing(tmp_path: Path) -> None:
    for ask in (cublas_version, cudnn_version, cudart_version):
        assert ask(str(tmp_path / "libnothing.so")) == ""
        assert ask("libc.so.6") == ""


def test_nvidias_switch_for_tf32_is_part_of_every_gpu_engines_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    without = machine._gpu_libraries(GPUS)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with_it = machine._gpu_libraries(GPUS)
    assert tf32_override() == "NVIDIA_TF32_OVERRIDE=1"
    for engine in ("tensorrt", "tensorrt_rtx"):
        assert with_it[engine] == f"{without[engine]}, NVIDIA_TF32_OVERRIDE=1"
    assert machine._gpu_libraries(replace(GPUS, tensorrt={}))["tensorrt"] == ""


def test_an_engine_built_under_another_switch_or_library_does_not_run() -> None:
    here = Machine("cpu", "avx2", 2, GPUS, {"onnxruntime-cuda": "ONNX Runtime 1.31.1, cuBLAS 13.1.0"}, {})
    for library in ("ONNX Runtime 1.31.1, cuBLAS 13.0.2", "ONNX Runtime 1.31.1, cuBLAS 13.1.0, NVIDIA_TF32_OVERRIDE=1"):
        there = replace(here, libraries={"onnxruntime-cuda": library}).fingerprint("onnxruntime-cuda", "ab", "fp16")
        (said,) = here.differences(there)
        assert said == f"another version ({library} there, ONNX Runtime 1.31.1, cuBLAS 13.1.0 here)"
