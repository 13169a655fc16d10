"""Imports go one way: cli → export → runtime; engines is data. The run time needs no library that trains."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING = {"torch", "torchvision", "transformers", "onnx", "onnxscript", "timm", "scipy", "sklearn"}
FORBIDDEN = {
    "runtime": TRAINING | {"haiku_edge.export", "haiku_edge.cli"},
    "export/synthetic": TRAINING | {"haiku_edge.cli"},
    "export": {"haiku_edge.cli"},
    "engines": {"haiku_edge"},
}


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("haiku_edge", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _imported(path: Path) -> Iterator[tuple[int, str]]:
    """(level, absolute or relative name) of every import in a module, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.level, node.module or ""
        elif isinstance(node, ast.ImportFrom):
            yield 0, node.module or ""
            yield from ((0, f"{node.module}.{alias.name}") for alias in node.names)


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_module_imports_against_the_direction(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules(folder)
        for level, name in _imported(path)
        if not level and any(name == root or name.startswith(f"{root}.") for root in FORBIDDEN[folder])
    ]
    assert not wrong


@pytest.mark.parametrize("folder", ["runtime", "export", "cli", "engines"])
def test_relative_imports_stay_inside_their_folder(folder: str) -> None:
    for path in _modules(folder):
        depth = len(path.relative_to(ROOT).parts) - 1
        assert all(level <= depth for level, _ in _imported(path)), path


def test_importing_the_whole_run_time_loads_no_training_library() -> None:
    names = [_module_name(path) for path in _modules("runtime") if path.name != "__main__.py"]
    optional = ("tensorrt", "cuda")
    code = f"""
import importlib, sys
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith({optional!r}):
            raise
print(*sorted({{name.split(".")[0] for name in sys.modules}} & {TRAINING!r}))
print(*sorted(name for name in sys.modules if name.startswith(("haiku_edge.export", "haiku_edge.cli"))))
"""
    result = _run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


@pytest.mark.parametrize("command", ["predict", "demo", "doctor", "bundle", "evaluate"])
def test_every_command_runs_where_only_the_lean_libraries_are_installed(command: str) -> None:
    code = f"""
import sys
for name in {TRAINING!r}:
    sys.modules[name] = None
import haiku_edge.cli.{command}
"""
    result = _run(code)
    assert result.returncode == 0, result.stderr


def test_help_imports_nothing_heavy() -> None:
    heavy = {
        "numpy",
        "cv2",
        "pyarrow",
        "onnxruntime",
        "openslide",
        "wsidicom",
        "pydantic",
        "tokenizers",
        "hnswlib",
    } | TRAINING
    code = f"""
import sys
sys.argv = ["haiku-edge", "--help"]
from haiku_edge.cli import main
try:
    main()
except SystemExit:
    pass
print("loaded:", *sorted({{name.split(".")[0] for name in sys.modules}} & {heavy!r}))
"""
    result = _run(code)
    assert result.returncode == 0, result.stderr
    assert "predict" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]


def test_nothing_in_the_run_time_can_open_a_connection() -> None:
    clients = {
        "socket",
        "ssl",
        "http",
        "urllib.request",
        "requests",
        "httpx",
        "ftplib",
        "smtplib",
        "huggingface_hub",
        "asyncio",
    }
    # The guard that refuses sockets has to name them.
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _modules("runtime")
        if path.name != "offline.py"
        for level, name in _imported(path)
        if not level and any(name == client or name.startswith(f"{client}.") for client in clients)
    ]
    assert not wrong
