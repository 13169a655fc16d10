"""A machine without network and without compiler installs from the wheelhouse, and predicts."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def _run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=1500, env=environment
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that the build leaves nothing in the repository."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("runtime", "export", "cli", "engines"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheelhouse(checkout: Path) -> Path:
    """The folder that `make wheelhouse` fills."""
    _run("make", "-C", checkout, "wheelhouse", f"PYTHON={sys.executable}")
    return checkout / "wheelhouse"


@pytest.fixture(scope="module")
def installed(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment installed from the wheelhouse alone, with nothing but itself on the PATH."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    _run(sys.executable, "-m", "venv", home)
    _run(home / "bin/pip", "install", "--no-index", "--find-links", wheelhouse, "haiku-edge", environment=_bare(home))
    return home / "bin"


def _bare(home: Path) -> dict[str, str]:
    """An environment in which no compiler is found and pip knows no index."""
    path = str(home / "bin")
    assert not any(shutil.which(tool, path=path) for tool in ("cc", "gcc", "g++", "c++", "clang", "make"))
    kept = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "TMPDIR"}}
    return kept | {"PATH": path, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}


def test_every_wheel_has_its_digest(wheelhouse: Path) -> None:
    lines = (wheelhouse / "sha256sums").read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, name in (line.split("  ") for line in lines)}
    present = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in wheelhouse.glob("*.whl")}
    assert stated == present
    assert {path.name for path in wheelhouse.iterdir()} == {*present, "sha256sums"}


def test_the_wheelhouse_is_lean(wheelhouse: Path) -> None:
    names = {path.name.split("-")[0].casefold() for path in wheelhouse.glob("*.whl")}
    assert {"haiku_edge", "hnswlib", "onnxruntime", "tokenizers"} <= names
    assert names.isdisjoint({"torch", "transformers", "onnx", "onnxscript", "scipy", "onnxruntime_gpu"})


def test_hnswlib_is_built_for_any_processor_of_its_kind(wheelhouse: Path, tmp_path: Path) -> None:
    objdump = shutil.which("objdump")
    if objdump is None or os.uname().machine != "x86_64":
        pytest.skip("needs objdump on x86-64 to read the instructions")
    (wheel,) = wheelhouse.glob("hnswlib-*.whl")
    shutil.unpack_archive(wheel, tmp_path, "zip")
    (library,) = tmp_path.glob("*.so")
    assembly = _run(objdump, "-d", "--no-show-raw-insn", library)
    assert "%xmm" in assembly
    assert "%ymm" not in assembly and "%zmm" not in assembly


def test_the_wheel_holds_the_bundle_and_the_templates(wheelhouse: Path) -> None:
    (wheel,) = wheelhouse.glob("haiku_edge-*.whl")
    listed = _run(sys.executable, "-m", "zipfile", "-l", wheel)
    for name in ("engines/embedded/bundle.json", "runtime/report/templates/", "runtime/py.typed"):
        assert f"haiku_edge/{name}" in listed
    assert "tests/" not in listed


def test_the_offline_installation_verifies_its_bundle_and_predicts(installed: Path, tmp_path: Path) -> None:
    environment = _bare(installed.parent)
    command = installed / "haiku-edge"
    _run(command, "bundle", "verify", environment=environment)
    _run(command, "demo", "--out", tmp_path / "demo", "--only-slide", environment=environment)
    said = _run(
        command,
        "predict",
        tmp_path / "demo/demo.svs",
        "--clinical",
        tmp_path / "demo/notes.json",
        "--out",
        tmp_path / "out",
        environment=environment,
    )
    assert "report.html" in said
    assert len(list((tmp_path / "out").rglob("report.html"))) == 1
