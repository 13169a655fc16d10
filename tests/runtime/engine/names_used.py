"""Which names of NVIDIA's bindings a module uses: read from its syntax, so that a renamed function fails a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[3] / "runtime" / "engine" / "gpu"

CUDA_ROOTS = {"cudart": "", "properties": "cudaDeviceProp"}
"""What a variable of that name holds: the module itself, or an object of a class of it."""

TENSORRT_ROOTS = {
    "library": "",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "config": "IRuntimeConfig",
    "cache": "IRuntimeCache",
    "strategies": "DynamicShapesKernelSpecializationStrategy",
    "refitter": "Refitter",
    "parser": "OnnxParserRefitter",
    "refusal": "ParserError",
}


def names_used(source: str, roots: dict[str, str]) -> set[tuple[str, ...]]:
    """Every chain of attributes that begins at one of the roots, as names inside the bindings' module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            parts = [part if part.startswith("__") else part.removeprefix("_") for part in _parts(node)]
            starts = [place for place, part in enumerate(parts[:-1]) if part in roots]
            if starts:
                owner = roots[parts[starts[-1]]]
                rest = parts[starts[-1] + 1 :]
                found.add((owner, rest[0]) if owner else tuple(rest))
    return found


def _parts(node: ast.expr) -> Iterator[str]:
    """`self._cudart.a.b` as its names; a call of `bindings()` counts as `cudart`."""
    if isinstance(node, ast.Attribute):
        yield from _parts(node.value)
        yield node.attr
    elif isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "bindings":
        yield "cudart"


def missing(module: object, chains: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The chains that lead nowhere."""
    return {chain for chain in chains if not _leads_somewhere(module, chain)}


def _leads_somewhere(value: object, chain: tuple[str, ...]) -> bool:
    for name in chain:
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True
