"""`haiku-edge doctor`: what is installed, what would run, and whether it computes what it should."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.atlas import probe_hnswlib
from haiku_edge.runtime.engine import survey_devices
from haiku_edge.runtime.errors import HaikuEdgeError
from haiku_edge.runtime.inference import PredictOptions
from haiku_edge.runtime.inference.self_test import Check, run_self_test
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.version import product

_LIBRARIES = ("onnxruntime", "openslide-bin", "pydicom", "wsidicom", "hnswlib", "tokenizers", "numpy", "pyarrow")
_GIB = 1 << 30


def run(bundle: Path | None, device: str, *, as_json: bool) -> bool:
    """Print the report.

    Returns:
        Whether every check passed.
    """
    machine = dict(_describe_machine())
    devices = {report.kind: {"usable": report.usable, "reason": report.reason} for report in survey_devices()}
    checks = list(_check(bundle, device))
    passed = all(check.passed for check in checks)
    if as_json:
        found = {"notice": RESEARCH_USE_ONLY, "machine": machine, "devices": devices, "passed": passed}
        typer.echo(json.dumps({**found, "checks": [asdict(check) for check in checks]}, indent=2))
        return passed
    console = Console()
    console.print(_table(machine))
    console.print(
        _table({kind: ("yes: " if d["usable"] else "no: ") + str(d["reason"]) for kind, d in devices.items()})
    )
    console.print(_table({("✓ " if check.passed else "✗ ") + check.name: check.detail for check in checks}))
    console.print("Everything works." if passed else "Something is wrong: see the lines marked ✗.", style="bold")
    console.print(RESEARCH_USE_ONLY)
    return passed


def _describe_machine() -> Iterator[tuple[str, str]]:
    yield "product", product()
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "cores", str(len(os.sched_getaffinity(0)))
    yield "memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GIB:.1f} GiB"
    yield "free disk here", f"{shutil.disk_usage('.').free / _GIB:.1f} GiB"
    for name in _LIBRARIES:
        yield name, _version(name)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _check(bundle: Path | None, device: str) -> Iterator[Check]:
    """Try one thing after another; what a broken thing needs is not tried."""
    broken = probe_hnswlib()
    yield Check("hnswlib runs on this processor", broken is None, broken or "yes")
    if broken is not None:
        return
    try:
        checks = run_self_test(PredictOptions(bundle=bundle, device=device))
    except HaikuEdgeError as error:
        yield Check("bundle", passed=False, detail=str(error))
        return
    yield Check("bundle", passed=True, detail="every file is as shipped")
    yield from checks


def _table(rows: dict[str, str]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, value)
    return table
