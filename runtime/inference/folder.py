"""The folder that a run writes into: checked before the work begins, and held by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..atomic import as_output_errors, exists_error, make_directory, probe
from ..errors import OutputExistsError

RESULT = "result.json"
UNFINISHED = ".unfinished-"
_LOCK = ".lock"
_UNSAFE = re.compile(r"[^\w.\- ]+")


@contextlib.contextmanager
def output_folder(out: Path, slide_name: str, *, force: bool) -> Iterator[Path]:
    """Make `out/<slide name>`, see that it can be written, and hold it while the block runs.

    When the block ends well, what unfinished runs left in it is removed; when it fails, that stays for the next run.

    Raises:
        OutputExistsError: A finished result is there and `force` is off, or another run is writing there.
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    folder = out / (_UNSAFE.sub("_", slide_name).strip(". ") or "slide")
    with as_output_errors(folder):
        make_directory(folder)
        probe(folder)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    with contextlib.ExitStack() as held:
        held.callback(os.close, lock)
        _hold(lock, folder)
        # Only from here on is the lock ours to remove: before, the file is another run's.
        held.callback((folder / _LOCK).unlink, missing_ok=True)
        if (folder / RESULT).exists() and not force:
            raise exists_error(folder, "already holds a finished result")
        yield folder
        _remove_leftovers(folder)


def _hold(lock: int, folder: Path) -> None:
    """Take the lock, which the kernel gives back when the process ends, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        replaced = os.fstat(lock).st_nlink == 0
    except OSError:
        replaced = True
    if replaced:
        raise OutputExistsError(f"Another run is writing into {folder}. Wait for it, or choose another --out.")


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
