"""Where a bundle is made: a folder beside its place, gone at the end whatever happens, and the time of each stage."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from haiku_edge.runtime.atomic import make_directory, output_error
from haiku_edge.runtime.inference.progress import Progress

_WORK_SUFFIX = ".export"
_CHUNK = 4 << 20


class StageTimes:
    """Wall time of each stage, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, progress: Progress, name: str) -> Iterator[None]:
        """Tell of a stage, and time it."""
        began = time.perf_counter()
        progress.start(name)
        try:
            yield
        finally:
            progress.finish()
        self.seconds[name] = round(time.perf_counter() - began, 1)


def clocked_lines() -> Callable[[str], None]:
    """Write lines to standard output, each with the minutes and seconds since now before it."""
    began = time.monotonic()

    def say(line: str) -> None:
        minutes, seconds = divmod(math.floor(time.monotonic() - began), 60)
        sys.stdout.write(f"[{minutes:3d}:{seconds:02d}] {line}\n")
        sys.stdout.flush()

    return say


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """A folder on the bundle's own disk, gone at the end whatever happens.

    What a killed export left is cleared away first: a folder whose lock nobody holds.

    Raises:
        OutputNotWritableError, DiskFullError: It can't be made.
    """
    parent = out.absolute().parent
    make_directory(parent)
    _clear_leftovers(parent, out.name)
    try:
        work = Path(tempfile.mkdtemp(dir=parent, prefix=f".{out.name}.", suffix=_WORK_SUFFIX))
    except OSError as error:
        raise output_error(error, out) from error
    lock = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network disks have no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


def _clear_leftovers(parent: Path, name: str) -> None:
    for folder in parent.iterdir():
        if not (folder.name.startswith(f".{name}.") and folder.name.endswith(_WORK_SUFFIX)) or folder.is_symlink():
            continue
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def bundle_name(folder: str, otherwise: str = "haiku") -> str:
    """A folder's name as a bundle may bear it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", folder).lstrip("._-")[:100]
    return plain or otherwise


def files_digest(files: Sequence[Path]) -> str:
    """SHA-256 (hex) over the bytes of all files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(_CHUNK):
                digest.update(piece)
    return digest.hexdigest()
