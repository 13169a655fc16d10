"""Files of a checkpoint's folder: there, regular, and no larger than such a file can be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from haiku_edge.runtime.errors import CheckpointError, CheckpointIncompleteError, CheckpointUnsafeError

_LFS_POINTER = b"version https://git-lfs"


def check_file(path: Path, limit: int) -> int:
    """Look at one file, and return its size in bytes.

    Links are followed: a model hub's cache keeps a checkpoint as links to its files.

    Raises:
        CheckpointIncompleteError: It is not there, is empty, or is a pointer that stands for a file not yet fetched.
        CheckpointUnsafeError: It is no regular file, or larger than `limit` bytes.
        CheckpointError: It can't be read.
    """
    try:
        status, start = _look(path, len(_LFS_POINTER))
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror}). Check its permissions.") from error
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointUnsafeError(f"{path.name} of the checkpoint is not a regular file.")
    if not start:
        raise CheckpointIncompleteError(f"{path.name} of the checkpoint is empty. Download the checkpoint again.")
    if start == _LFS_POINTER:
        raise CheckpointIncompleteError(
            f"{path.name} of the checkpoint is only a pointer to a file that was not fetched. Run `git lfs pull`, or "
            "download the checkpoint with the hub's own client."
        )
    if status.st_size > limit:
        raise CheckpointUnsafeError(
            f"{path.name} of the checkpoint has {status.st_size / 1e9:,.1f} GB; no such file has more than "
            f"{limit / 1e9:,.1f} GB. It was not read."
        )
    return status.st_size


def read_small_file(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; see `check_file` for what it raises."""
    check_file(path, limit)
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror}). Check its permissions.") from error
    if len(data) > limit:
        raise CheckpointUnsafeError(f"{path.name} of the checkpoint grew while it was read.")
    return data


def _look(path: Path, count: int) -> tuple[os.stat_result, bytes]:
    """What kind of file it is, and its first bytes; a pipe is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        return status, os.read(descriptor, count) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)


def _missing(path: Path) -> CheckpointIncompleteError:
    return CheckpointIncompleteError(
        f"{path.name} is not in {path.parent}. A checkpoint folder holds haiku_state_dict.pt, config.json and "
        "tokenizer/ as they were released; check the path, and that the download finished."
    )
