"""What is in the repository is what is installed."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest

from haiku_edge.runtime.version import product, version

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("runtime", "export", "cli", "engines")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def _package(folder: Path) -> str:
    return ".".join(("haiku_edge", *folder.relative_to(ROOT).parts))


def _modules() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_subpackage_folder_is_listed_and_no_other() -> None:
    found = {_package(path.parent) for path in _modules() if path.name == "__init__.py"}
    assert sorted(SETUPTOOLS["packages"]) == sorted(found)


def test_every_folder_with_modules_is_a_package() -> None:
    assert [path for path in _modules() if not (path.parent / "__init__.py").exists()] == []


def test_every_data_file_is_packed() -> None:
    listed = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / Path(*package.split(".")[1:])).glob(pattern)
    }
    present = {
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and "__pycache__" not in path.parts
    }
    assert sorted(present - listed) == []


def test_every_folder_says_that_it_is_typed() -> None:
    assert all((ROOT / folder / "py.typed").exists() for folder in FOLDERS)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_and_public_name_explains_itself(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert len((ast.get_docstring(tree) or "").split()) >= 2
    public = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert public == []


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 80, node.name


def test_one_version_everywhere() -> None:
    stated = PYPROJECT["project"]["version"]
    assert installed_version("haiku-edge") == stated == version()
    assert product() == f"haiku-edge {stated}"


def test_every_requirement_has_a_lower_bound() -> None:
    optional = PYPROJECT["project"]["optional-dependencies"].values()
    requirements = [*PYPROJECT["project"]["dependencies"], *(item for group in optional for item in group)]
    bounded = re.compile(r"[A-Za-z0-9_.-]+[>=]=[\d.]+(,<[\d.]+)?(; .+)?")
    assert [item for item in requirements if not bounded.fullmatch(item)] == []


def test_the_lean_installation_requires_no_training_library() -> None:
    names = {re.split(r"[>=]", item)[0] for item in PYPROJECT["project"]["dependencies"]}
    assert names.isdisjoint({"torch", "transformers", "onnx", "onnxscript", "scipy", "scikit-learn", "onnxruntime-gpu"})
