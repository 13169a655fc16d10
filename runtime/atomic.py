"""Files that are either whole or not there.

A file is written beside its place under a hidden name, flushed to the disk, and renamed. A reader, or a run after a
crash, never sees half of one.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import DiskFullError, OutputError, OutputExistsError, OutputNotWritableError

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


def exists_error(path: Path, found: str = "is there already") -> OutputExistsError:
    """The refusal to replace a finished result unasked; `found` says what is at `path`."""
    return OutputExistsError(f"{path} {found}. Pass --force to replace it, or name another place.")


def check_new_file(path: Path, *, force: bool) -> None:
    """See, before any work, that a file can be written there and that nothing is replaced unasked.

    Args:
        path: Where the file will be; its folder must be there.
        force: Whether an older file may be replaced.

    Raises:
        OutputExistsError: A file is there and `force` is off, or a folder is there.
        OutputNotWritableError, DiskFullError: It could not be written.
    """
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder. Name a file to write.")
    if path.exists() and not force:
        raise exists_error(path)
    with as_output_errors(path):
        probe(path.parent)


def check_writable(out: Path) -> None:
    """See, before any work, that a folder could be made in `out`; leaves nothing behind.

    Raises:
        OutputNotWritableError, DiskFullError: It could not.
    """
    with as_output_errors(out):
        probe(next(path for path in (out, *out.absolute().parents) if path.exists()))


def probe(folder: Path) -> None:
    """Write a byte there, which vanishes at once; raises the operating system's own error."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")


@contextmanager
def as_output_errors(path: Path) -> Iterator[None]:
    """Raise `output_error` for an operating system's error in the block, which writes `path`."""
    try:
        yield
    except OSError as error:
        raise output_error(error, path) from error


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


def replace_folder(beside: Path, folder: Path) -> None:
    """Rename a finished folder into place; an older one steps aside first, back if that fails, and is then removed.

    Args:
        beside: The finished folder, on the same disk.
        folder: Its place.

    Raises:
        OSError: A folder can't be renamed; the older one is where it was.
    """
    aside = beside.with_suffix(".old")
    with suppress(FileNotFoundError):
        folder.rename(aside)
    try:
        beside.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    sync_directory(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


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
