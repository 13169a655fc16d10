"""The folder that a run writes into: checked before the work begins, and held by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..atomic import make_directory, output_error
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
    with _as_output_errors(folder):
        make_directory(folder)
        _probe(folder)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    with contextlib.ExitStack() as held:
        held.callback(os.close, lock)
        _hold(lock, folder)
        # Only from here on is the lock ours to remove: before, the file is another run's.
        held.callback((folder / _LOCK).unlink, missing_ok=True)
        if (folder / RESULT).exists() and not force:
            raise OutputExistsError(
                f"{folder} already holds a finished result. Pass --force to replace it, or another --out."
            )
        yield folder
        _remove_leftovers(folder)


def check_writable(out: Path) -> None:
    """See, before any work, that a folder could be made in `out`; leaves nothing behind.

    Raises:
        OutputNotWritableError, DiskFullError: It could not.
    """
    with _as_output_errors(out):
        _probe(next(path for path in (out, *out.absolute().parents) if path.exists()))


def _probe(folder: Path) -> None:
    """Write a byte there, which vanishes at once."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"\0")


@contextlib.contextmanager
def _as_output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(error, path) from error


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
