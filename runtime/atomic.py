"""Files that are either whole or not there.

A file is written beside its place under a hidden name, flushed to the disk, and renamed. A reader, or a run after a
crash, never sees half of one.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import DiskFullError, OutputError, OutputNotWritableError

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_FOR_FOLDERS = frozenset({errno.EINVAL, errno.ENOTSUP})


def output_error(error: OSError, path: Path) -> OutputError:
    """The error of this project for an operating system's error while `path` was written.

    Returns:
        DiskFullError where the disk, a quota or the largest allowed file size is reached, else OutputNotWritableError.
    """
    cause = error.strerror or str(error)
    if error.errno in _DISK_FULL:
        return DiskFullError(
            f"There is no room to write {path} ({cause}). Nothing half-written was left there. "
            "Free some space, or name another folder with --out, and run again: finished work is kept."
        )
    return OutputNotWritableError(
        f"{path} can't be written ({cause}). Check that the folder exists and that you may write there, "
        "or name another folder with --out."
    )


def make_directory(directory: Path) -> None:
    """Create a folder and its parents where they are missing.

    Raises:
        OutputNotWritableError: The folder can't be created.
        DiskFullError: The disk is full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, directory) from error


@contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only once it is whole and on the disk.

    Args:
        path: Where it will be; an older file there is replaced in one step.

    Yields:
        A binary stream to write to.

    Raises:
        OutputNotWritableError: The folder or file can't be written.
        DiskFullError: The disk, the quota or the largest file size is reached.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise output_error(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write(path: Path, content: bytes) -> None:
    """Write a whole file in one step; see `atomic_open` for what it promises and raises."""
    with atomic_open(path) as stream:
        stream.write(content)


def sync_directory(directory: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename outlives a power cut.

    Some network file systems can't do that for folders; there the file itself is flushed, and the rename is left to
    the server.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(handle)
