"""A tower in ONNX Runtime's OpenVINO plug-in, the faster way on many processors (the extra `openvino`).

The plug-in opens no socket and writes no file: it is given no cache folder, and it has no telemetry.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from ..errors import BundleContentError, DeviceUnavailableError, EngineBuildError
from .fingerprint import cpu_capability
from .onnx import SessionEngine, open_session, session_options
from .types import DeviceInfo

PROVIDER: Final = "OpenVINOExecutionProvider"
DISTRIBUTION: Final = "onnxruntime-ep-openvino"

_MODULE = "onnxruntime_ep_openvino"
_LIBRARY = "libonnxruntime_providers_openvino_plugin.so"
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_GROUP = 128
"""Activations of a row that share one scale, where weights are int8: larger is faster, and coarser."""


def openvino_available() -> str | None:
    """The version of the plug-in that is installed, or None; nothing of it is loaded."""
    try:
        return metadata.version(DISTRIBUTION) if _library() is not None else None
    except metadata.PackageNotFoundError:
        return None


def openvino_precisions() -> tuple[str, ...]:
    """Float precisions that this processor computes in hardware; elsewhere bf16 would be emulated, and slower."""
    has_bf16 = {"amx_bf16", "avx512_bf16"} & set(cpu_capability().split())
    return ("fp32", "bf16") if has_bf16 else ("fp32",)


class OpenVinoEngine(SessionEngine):
    """Runs one graph of pure ONNX operators in OpenVINO on the CPU.

    Args:
        model: The bytes of the graph: canonical, or a variant with int8 weights or quantised nodes.
        device: Where it runs; its precision says how floats are computed: fp32 or bf16, or int8 (with the recipe:
            int8-weights) for variants, whose other floats are fp32.
        weights: Name → verified bytes of each file that the graph keeps weights in.

    Raises:
        DeviceUnavailableError: The plug-in is not installed or finds no processor.
        EngineBuildError: It does not take the whole graph.
    """

    def __init__(self, model: bytes, device: DeviceInfo, weights: Mapping[str, bytes] | None = None) -> None:
        options = session_options(1)
        # The plug-in optimises by itself, and keeps weights as small as they are stored.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # All or nothing: no operator quietly runs elsewhere.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_provider_for_devices([_cpu()], {"load_config": json.dumps({"CPU": _settings(device)})})
        try:
            super().__init__(open_session(model, options, weights or {}), device)
        except BundleContentError as error:
            raise EngineBuildError(f"OpenVINO does not take the tower: {error} Use another engine.") from error


def _settings(device: DeviceInfo) -> dict[str, Any]:
    """Its own default is bf16 on processors that have it, and a quantisation of its own for int8 weights."""
    precision = device.precision.split("-")[0]
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": device.threads,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if precision == "int8" else 0,
    }


@cache
def _cpu() -> Any:
    """The processor, as the plug-in sees it; the library stays loaded."""
    library = _library()
    if library is None:
        raise DeviceUnavailableError(
            "ONNX Runtime's OpenVINO plug-in is not installed. Install haiku-edge[openvino], or use --device cpu."
        )
    ort.register_execution_provider_library(_MODULE, str(library))
    for device in ort.get_ep_devices():
        if device.ep_name == PROVIDER and device.ep_metadata.get("ov_device") == "CPU":
            return device
    raise DeviceUnavailableError("OpenVINO finds no processor that it can use. Use --device cpu.")


def _library() -> Path | None:
    spec = importlib.util.find_spec(_MODULE)
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(folders[0]) / _LIBRARY if folders else None
    return path if path is not None and path.is_file() else None
