"""The folder of one training: what it is, and what of it is kept."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haiku_edge.runtime.atomic import atomic_write, make_directory
from haiku_edge.runtime.errors import CheckpointIncompleteError, HaikuEdgeError, OutputExistsError, UsageError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

RUN_FILE = "run.json"


def open_run(folder: Path, about: dict[str, Any], fingerprint: str, *, resume: bool) -> None:
    """Begin a training's folder, or check that it is the one to go on with.

    Args:
        folder: The folder.
        about: What the training is, for people; counts only, no names of patients.
        fingerprint: What decides the training.
        resume: Whether to go on.

    Raises:
        OutputExistsError: A training is there already.
        CheckpointIncompleteError, UsageError: There is none to resume, or it is another one.
        OutputNotWritableError, DiskFullError: The folder can't be written.
    """
    file = folder / RUN_FILE
    if resume:
        _check_same(file, fingerprint)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError(
            f"{folder} holds something already. Pass --resume to go on with the training there, or name a new folder."
        )
    make_directory(folder)
    describe_run(folder, {**about, "fingerprint": fingerprint})


@contextlib.contextmanager
def started(folder: Path, state: str, *, resume: bool) -> Iterator[None]:
    """Let a training that is refused before its first state leave nothing, so that the mended command can be given.

    Args:
        folder: The training's folder.
        state: Name of the file that the training goes on from.
        resume: Whether an earlier run's folder is used, which is kept.
    """
    try:
        yield
    except HaikuEdgeError:
        if not resume and not (folder / state).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def describe_run(folder: Path, about: dict[str, Any]) -> None:
    """Write `run.json`."""
    document = {"notice": RESEARCH_USE_ONLY, **about}
    atomic_write(folder / RUN_FILE, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_run(folder: Path) -> dict[str, Any]:
    """Read `run.json`.

    Raises:
        CheckpointIncompleteError: It is missing or damaged.
    """
    try:
        document = json.loads((folder / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise CheckpointIncompleteError(
            f"{folder} is no folder of a training: {RUN_FILE} is missing or damaged. Name the folder that `haiku-edge "
            "train` wrote, or start without --resume."
        )
    return document


def _check_same(file: Path, fingerprint: str) -> None:
    if read_run(file.parent).get("fingerprint") != fingerprint:
        raise UsageError(
            f"{file.parent} is of a training with other data or other settings, which --resume can't change. Give the "
            "same ones, or start in a new folder."
        )
