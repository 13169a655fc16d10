"""Every name of TensorRT that building uses exists in NVIDIA's own bindings of both kinds, without any GPU."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from haiku_edge.export.engines import build_tensorrt, builder_log
from haiku_edge.export.engines.build_tensorrt import offered_capabilities
from tests.runtime.engine.names_used import missing, names_used
from tests.runtime.engine.test_cuda_names import _with_stubs

ROOTS = {
    "library": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "e": "ParserError",
}

RTX_ONLY = {
    ("ComputeCapability",),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
}
"""What only TensorRT-RTX has; the code asks first."""

TENSORRT_ONLY = {("IBuilderConfig", "create_timing_cache"), ("IBuilderConfig", "set_timing_cache")}


def used() -> set[tuple[str, ...]]:
    sources = [Path(module.__file__).read_text(encoding="utf-8") for module in (build_tensorrt, builder_log)]
    callbacks = {("IProgressMonitor", name) for name in ("phase_start", "step_complete", "phase_finish")}
    severities = {("ILogger", "Severity", name) for name in builder_log._ERRORS}
    return set().union(callbacks, severities, *(names_used(source, ROOTS) for source in sources))


def test_names_are_found_in_the_code() -> None:
    assert used() >= RTX_ONLY | TENSORRT_ONLY
    assert {("BuilderFlag", "STRIP_PLAN"), ("BuilderFlag", "REFIT_IDENTICAL")} <= used()
    assert {("BuilderFlag", "TF32"), ("OnnxParser", "load_initializer"), ("ParserError", "node_operator")} <= used()


def test_every_name_is_in_the_bindings_of_tensorrt_rtx() -> None:
    library = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (haiku-edge[rtx])")
    assert missing(library, used()) == set()
    assert offered_capabilities(library)[:2] == ("7.5", "8.0")


def test_every_name_is_in_the_bindings_of_tensorrt(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt_bindings") is None or shutil.which("cc") is None:
        pytest.skip("the bindings of TensorRT, or a C compiler, are not installed")
    code = f"""
import json, tensorrt_bindings
from tests.runtime.engine.names_used import missing
chains = {{tuple(chain) for chain in json.loads({json.dumps(json.dumps(sorted(used())))})}}
print(json.dumps(sorted(missing(tensorrt_bindings, chains))))
"""
    assert json.loads(_with_stubs(code, tmp_path)) == [list(chain) for chain in sorted(RTX_ONLY)]
