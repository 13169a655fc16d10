"""One checkpoint of full size, and the bundle made of it, for all slow tests; one small of each for the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from haiku_edge.export.haiku import Exported, export_haiku

from .made import PARITY, SMALL, write_atlas_folder, write_full_checkpoint, write_small_checkpoint

EXPORT = """
import json, sys, time
from pathlib import Path
from haiku_edge.export.haiku import export_haiku
began = time.monotonic()
exported = export_haiku(Path(sys.argv[1]), Path(sys.argv[2]), atlas=Path(sys.argv[3]))
# Not ru_maxrss, which counts what the process was before it became this program.
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
print(json.dumps({"seconds": time.monotonic() - began, "peak": peak, "differences": exported.differences}))
"""


@dataclass(frozen=True)
class FullBundle:
    """The exported bundle, and what the export took."""

    folder: Path
    seconds: float
    peak_bytes: int
    differences: dict[str, float]


@pytest.fixture(scope="session")
def full_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not PARITY.is_dir():
        pytest.skip("the parity fixtures (../shared/parity) are not here")
    folder = tmp_path_factory.mktemp("full")
    if shutil.disk_usage(folder).free < 12e9:
        pytest.skip("a full-size checkpoint and its bundle need 12 GB of disk")
    yield write_full_checkpoint(folder / "checkpoint")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def full_bundle(full_checkpoint: Path) -> FullBundle:
    """Exported with a small atlas, in a process of its own, so that its peak memory can be stated."""
    out = full_checkpoint.parent / "bundle"
    atlas = write_atlas_folder(full_checkpoint.parent / "atlas", patients=4)
    command = [sys.executable, "-c", EXPORT, str(full_checkpoint), str(out), str(atlas)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3000, env=dict(os.environ))
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    return FullBundle(out, said["seconds"], said["peak"], said["differences"])


@dataclass(frozen=True)
class SmallExport:
    """A small checkpoint, and the bundle made of it with its weights beside the graphs."""

    checkpoint: Path
    folder: Path
    exported: Exported


@pytest.fixture(scope="session")
def small_export(tmp_path_factory: pytest.TempPathFactory) -> SmallExport:
    work = tmp_path_factory.mktemp("small")
    checkpoint = write_small_checkpoint(work / "checkpoint")
    exported = export_haiku(checkpoint, work / "My bundle", sizes=SMALL, inline_below=0)
    return SmallExport(checkpoint, work / "My bundle", exported)
