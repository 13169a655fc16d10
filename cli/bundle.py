"""`haiku-edge bundle verify` and `haiku-edge bundle info`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from haiku_edge.runtime.bundle import bundle_info, open_bundle
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

_MEBIBYTE = 1 << 20
_KEY_WIDTH = 20
_LONGEST = 8
"""Entries of a long list that are shown; all stand in the JSON."""

_IN_BRIEF = (
    "digest",
    "path",
    "files",
    "size",
    "metrics",
    "towers",
    "atlas",
    "calibration",
    "training",
    "heads",
    "students",
    "retrieval",
    "spade",
)


def run_verify(path: Path | None) -> None:
    """Open the bundle, which checks every file, and say so."""
    bundle = open_bundle(path)
    name, count = f"{bundle.manifest.name} {bundle.manifest.version}", len(bundle.manifest.files)
    typer.echo(f"{name}: all {count} files are as its manifest says. Digest {bundle.digest}")
    typer.echo(RESEARCH_USE_ONLY)


def run_info(path: Path | None, *, as_json: bool) -> None:
    """Print what the bundle says about itself."""
    info = bundle_info(open_bundle(path))
    if as_json:
        typer.echo(json.dumps(info, indent=2, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True, min_width=_KEY_WIDTH)
    table.add_column(overflow="fold")
    for key, value in _rows(info):
        table.add_row(key, value)
    console = Console()
    for key in ("digest", "path"):
        console.print(f"{key:<{_KEY_WIDTH + 1}} {info[key]}", highlight=False, markup=False, soft_wrap=True)
    console.print(table, highlight=False)
    console.print("The measured figures and every file: --json.", highlight=False)
    console.print(RESEARCH_USE_ONLY, highlight=False)


def _rows(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and value as words, in the order in which they are read best."""
    for key, value in info.items():
        if key not in _IN_BRIEF:
            yield key.replace("_", " "), _words(value)
    if info["family"] != "spade":
        yield from _haiku(info)
    if info["spade"] is not None:
        yield from _spade(info["spade"])
    yield "learned from", _training(info["training"])
    for head in info["heads"]:
        yield f"head {head['name']}", f"{head['kind'].replace('_', ' ')}, {head['target']}, {head['patients']} patients"
    for student in info["students"]:
        yield student["name"], _student(student)
    yield "files", f"{len(info['files'])} of {info['size'] / _MEBIBYTE:.1f} MiB together"


def _haiku(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The towers and the evidence of proteins."""
    for name, tower in info["towers"].items():
        yield f"{name} tower", "none" if tower is None else _tower(tower)
    yield "retrieval", _words(info["retrieval"])
    yield "atlas", "none" if info["atlas"] is None else _words(info["atlas"])
    yield "calibration", _calibration(info["calibration"])


def _spade(spade: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The mixture of experts and the evidence of genes."""
    yield "spade tower", _tower(spade["tower"])
    yield "spots", "none" if spade["atlas"] is None else _words(spade["atlas"])
    yield "searched by", f"{spade['keys']}; neighbours {spade['neighbours']}"
    yield "calibration of genes", _calibration(spade["calibration"])
    for number, expert in enumerate(spade["experts"], start=1):
        yield f"expert {number}", _words(expert)


def _calibration(section: Mapping[str, Any] | None) -> str:
    if section is None:
        return "none: no intervals, nothing abstains"
    return _words({key: value for key, value in section.items() if key != "file"})


def _student(student: Mapping[str, Any]) -> str:
    """A small tower and what it is worth, in words."""
    intervals = "no intervals" if student["calibration"] is None else "calibrated"
    known = {key: value for key, value in student["agreement"].items() if value is not None}
    return f"{student['file']}; {student['parameters']:,} parameters; {intervals}; agreement: {_words(known)}"


def _training(training: Mapping[str, Any] | None) -> str:
    """Whom the towers learned from, in words."""
    if training is None:
        return "not known; see that no calibration patient is among them"
    others = "" if training["complete"] else "; and others, who are not known"
    return f"{training['patients']} patients, judged by {training['held_out']} more{others}"


def _tower(tower: Mapping[str, Any]) -> str:
    left = {key: value for key, value in tower.items() if key not in ("file", "weights", "tokenizer")}
    return f"{tower['file']}; {_words(left)}"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key.replace('_', ' ')} {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        more = f" and {len(value) - _LONGEST} more" if len(value) > _LONGEST else ""
        return ", ".join(map(str, value[:_LONGEST])) + more
    return {True: "yes", False: "no", None: "none"}[value] if isinstance(value, bool | None) else str(value)
