"""Every name of CUDA and TensorRT that the GPU engines use exists in NVIDIA's own bindings, without any GPU."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from haiku_edge.runtime.engine.gpu import cuda, plan

from .names_used import CUDA_ROOTS, ENGINE, TENSORRT_ROOTS, missing, names_used

TENSORRT_MODULES = [ENGINE / name for name in ("plan.py", "lanes.py", "refit.py", "tensorrt.py")]
CUDA_MODULES = [ENGINE / "cuda.py", ENGINE / "survey.py", *TENSORRT_MODULES]

RTX_ONLY = {
    ("DynamicShapesKernelSpecializationStrategy",),
    ("DynamicShapesKernelSpecializationStrategy", "EAGER"),
    ("IExecutionContext", "is_stream_capturable"),
    ("IRuntimeCache", "deserialize"),
    ("IRuntimeCache", "serialize"),
    ("IRuntimeConfig", "create_runtime_cache"),
    ("IRuntimeConfig", "dynamic_shapes_kernel_specialization_strategy"),
    ("IRuntimeConfig", "set_runtime_cache"),
}
"""What the code asks of TensorRT-RTX alone, behind a look at the kind."""

REFITTING = {
    ("Refitter",),
    ("Refitter", "get_missing_weights"),
    ("Refitter", "refit_cuda_engine"),
    ("OnnxParserRefitter",),
    ("OnnxParserRefitter", "load_initializer"),
    ("OnnxParserRefitter", "load_model_proto"),
    ("OnnxParserRefitter", "refit_model_proto"),
    ("ParserError", "desc"),
}
"""How a plan without weights gets them, in both kinds."""

STUB_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")
STUB_SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def _used(modules: list[Path], roots: dict[str, str]) -> set[tuple[str, ...]]:
    return set().union(*(names_used(path.read_text(encoding="utf-8"), roots) for path in modules))


def _tensorrt_used() -> set[tuple[str, ...]]:
    types = {("DataType", name) for name in plan._DTYPES}
    severities = {("ILogger", "Severity", name) for name in plan._SEVERE}
    return _used(TENSORRT_MODULES, TENSORRT_ROOTS) | types | severities


def test_every_cuda_name_is_in_the_bindings() -> None:
    used = _used(CUDA_MODULES, CUDA_ROOTS)
    assert {("cudaMalloc",), ("cudaMemcpyKind", "cudaMemcpyHostToDevice"), ("cudaDeviceProp", "major")} <= used
    assert missing(cuda.bindings(), used) == set()


def test_a_name_that_is_gone_is_noticed() -> None:
    source = "self._cudart.cudaMalloc(1)\nbindings().cudaMaloc(2)\nk = cudart.cudaMemcpyKind.cudaUpwards"
    chains = names_used(source, CUDA_ROOTS)
    assert missing(cuda.bindings(), chains) == {("cudaMaloc",), ("cudaMemcpyKind", "cudaUpwards")}


def test_every_name_of_tensorrt_rtx_is_in_its_bindings() -> None:
    library = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed", exc_type=ImportError)
    used = _tensorrt_used()
    assert used >= RTX_ONLY | REFITTING
    assert missing(library, used) == set()
    assert "runtime_config" in library.ICudaEngine.create_execution_context.__doc__


def test_every_name_of_tensorrt_is_in_its_bindings(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt_bindings") is None or shutil.which("cc") is None:
        pytest.skip("the bindings of TensorRT, or a C compiler, are not installed")
    code = f"""
import json, tensorrt_bindings
from tests.runtime.engine.names_used import missing
chains = {{tuple(chain) for chain in json.loads({json.dumps(json.dumps(sorted(_tensorrt_used() - RTX_ONLY)))})}}
print(json.dumps(sorted(missing(tensorrt_bindings, chains))))
print("runtime_config" in tensorrt_bindings.ICudaEngine.create_execution_context.__doc__)
print(json.dumps(sorted(missing(tensorrt_bindings, {RTX_ONLY!r}))))
"""
    lines = _with_stubs(code, tmp_path).splitlines()
    assert json.loads(lines[0]) == []
    assert lines[1] == "True"
    assert json.loads(lines[2]) == [list(chain) for chain in sorted(RTX_ONLY)]


def _with_stubs(code: str, folder: Path) -> str:
    """Run code where TensorRT's libraries are empty ones: enough for the genuine bindings to load."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in STUB_SYMBOLS))
    for name in STUB_LIBRARIES:
        soname = f"{name}.so.11"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(folder / soname), str(source)]
        subprocess.run(command, check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ENGINE.parents[2],
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_nothing_of_nvidia_is_imported_with_the_run_time() -> None:
    modules = [f"haiku_edge.runtime.engine.gpu.{path.stem}" for path in CUDA_MODULES]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*sorted(name for name in sys.modules if name.startswith(("cuda.", "tensorrt"))))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.split() == []
