"""Versions of the CUDA libraries that ONNX Runtime computes with: another one may give other vectors."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
from typing import Final

TF32_OVERRIDE: Final = "NVIDIA_TF32_OVERRIDE"
"""NVIDIA's own switch: it makes every library on the GPU round to 10 bits, or none, whatever they are told."""

_WHEELS: Final = {
    "cuBLAS": ("nvidia-cublas", "nvidia-cublas-cu13", "nvidia-cublas-cu12"),
    "cuDNN": ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn"),
    "CUDA run time": ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12"),
}
"""Library → NVIDIA's wheels of it, which ONNX Runtime loads before anything else."""


def cuda_libraries(cuda: str) -> str:
    """Versions of cuBLAS, cuDNN and the CUDA run time: of NVIDIA's wheels, else what the system's own say.

    Args:
        cuda: Version of CUDA that ONNX Runtime was built with, such as "13.0".

    Returns:
        Such as 'cuBLAS 13.1.0.3, cuDNN 9.12.0.46, CUDA run time 13.0.48'; 'none' for what is not there.
    """
    major = cuda.split(".")[0]
    asks = {
        "cuBLAS": lambda: cublas_version(f"libcublas.so.{major}"),
        "cuDNN": lambda: cudnn_version("libcudnn.so.9"),
        "CUDA run time": lambda: cudart_version(f"libcudart.so.{major}"),
    }
    found = {title: _installed(wheels) or asks[title]() for title, wheels in _WHEELS.items()}
    return ", ".join(f"{title} {version or 'none'}" for title, version in found.items())


def tf32_override() -> str:
    """What NVIDIA_TF32_OVERRIDE says, such as 'NVIDIA_TF32_OVERRIDE=1'; empty where it is not set."""
    value = os.environ.get(TF32_OVERRIDE, "")
    return f"{TF32_OVERRIDE}={ascii(value)[1:-1][:20]}" if value else ""


def cublas_version(library: str) -> str:
    """What a cuBLAS says of itself, such as 13.1.0; empty where it does not load. It stays loaded."""
    with contextlib.suppress(OSError, AttributeError):
        ask, value = ctypes.CDLL(library).cublasGetProperty, ctypes.c_int()
        parts = [str(value.value) for part in range(3) if ask(part, ctypes.byref(value)) == 0]
        return ".".join(parts)
    return ""


def cudnn_version(library: str) -> str:
    """The same of a cuDNN, such as 9.12.0."""
    with contextlib.suppress(OSError, AttributeError):
        ask = ctypes.CDLL(library).cudnnGetVersion
        ask.restype = ctypes.c_size_t
        number = int(ask())
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return ""


def cudart_version(library: str) -> str:
    """The same of a CUDA run time, such as 13.0."""
    with contextlib.suppress(OSError, AttributeError):
        value = ctypes.c_int()
        ctypes.CDLL(library).cudaRuntimeGetVersion(ctypes.byref(value))
        return f"{value.value // 1000}.{value.value % 1000 // 10}"
    return ""


def _installed(wheels: tuple[str, ...]) -> str:
    """Versions of those wheels that are installed; empty where none is."""
    found = []
    for name in wheels:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(importlib.metadata.version(name))
    return " and ".join(found)
