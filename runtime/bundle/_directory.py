"""Reading a directory that nobody vouches for: by descriptors, never through a link, never by a path looked up twice.

Every file and folder is opened relative to the descriptor of its parent with O_NOFOLLOW, and judged by `fstat` of what
was opened, so nothing can be swapped between the check and the reading.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BundleAlteredError, BundleError, BundleLinkError

MAX_ENTRIES = 20_000
"""Most files and folders that are looked at, so that a call on `/` ends."""

MAX_DEPTH = 8
"""Deepest folder of a bundle."""

_BUFFER_BYTES = 1 << 20
"""What is read at once to be hashed: small enough for a processor's cache, large enough to let other threads run."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO would wait for its writer for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_GET_AGAIN = "Get the bundle again from where it came from."


@dataclass(slots=True)
class Listing:
    """What lies in a directory.

    Attributes:
        files: Relative POSIX paths of regular files.
        folders: Relative POSIX paths of folders.
    """

    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)


@contextmanager
def folder_descriptor(path: Path | str, parent: int | None = None) -> Iterator[int]:
    """Open a folder; below `parent` a link to a folder is not followed (OSError)."""
    descriptor = os.open(path, _FOLDER | (os.O_NOFOLLOW if parent is not None else 0), dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def list_files(root: int) -> Listing:
    """List everything below the folder `root`.

    Raises:
        BundleLinkError: There is a symbolic link.
        BundleAlteredError: There is something that is neither file nor folder, or far more than a bundle holds.
    """
    listing = Listing()
    _list_into(listing, root, "", 1)
    return listing


def read_file(root: int, name: str, *, limit: int, hard_links: bool) -> bytes:
    """Read one file whole, at most `limit` bytes.

    Args:
        root: Descriptor of the bundle's folder.
        name: Relative POSIX path, already checked to stay inside.
        limit: Most bytes that the file may have.
        hard_links: Whether the file may have further names.

    Raises:
        FileNotFoundError: There is no such file.
        BundleLinkError: The file, or a folder on the way, is a link.
        BundleAlteredError: Not a regular file, or longer than `limit`.
        BundleError: The file system refuses to read it.
    """
    with _checked_file(root, name, limit, hard_links) as (descriptor, size):
        return _read_all(descriptor, size)


def hash_file(
    root: int, name: str, *, limit: int, hard_links: bool, given_up: Callable[[], bool]
) -> tuple[int, str] | None:
    """Length and SHA-256 (hex) of one file, of which no more than a buffer is ever in memory.

    Args:
        root: Descriptor of the bundle's folder.
        name: Relative POSIX path, already checked to stay inside.
        limit: Most bytes that the file may have; one that grows meanwhile is read no further.
        hard_links: Whether the file may have further names.
        given_up: Asked now and then whether the answer is still wanted.

    Returns:
        None where it was given up.

    Raises:
        FileNotFoundError, BundleLinkError, BundleAlteredError, BundleError: As `read_file`.
    """
    buffer, digest, length = memoryview(bytearray(_BUFFER_BYTES)), hashlib.sha256(), 0
    with _checked_file(root, name, limit, hard_links) as (descriptor, _):
        while length <= limit and (count := os.readv(descriptor, [buffer])):
            if given_up():
                return None
            digest.update(buffer[:count])
            length += count
    return length, digest.hexdigest()


@contextmanager
def _checked_file(root: int, name: str, limit: int, hard_links: bool) -> Iterator[tuple[int, int]]:
    """Descriptor and size of a file that may be read; errors as `read_file`."""
    try:
        with _file_descriptor(root, name.split("/")) as descriptor:
            status = os.fstat(descriptor)
            _check_kind(status, name, hard_links)
            if status.st_size > limit:
                raise BundleAlteredError(f"{name} of the bundle is longer than it may be: altered. {_GET_AGAIN}")
            yield descriptor, status.st_size
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(name, error) from error


@contextmanager
def _file_descriptor(folder: int, parts: list[str]) -> Iterator[int]:
    """Open a file, going down folder by folder and through no link."""
    with ExitStack() as stack:
        for part in parts[:-1]:
            folder = stack.enter_context(folder_descriptor(part, folder))
        descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _read_all(descriptor: int, size: int) -> bytes:
    """Read to the end; one byte more than `size` is asked for, so that a file that grew shows it."""
    data = os.read(descriptor, size + 1)
    if len(data) == size and not os.read(descriptor, 1):
        return data
    pieces = [data]
    while pieces[-1] and sum(map(len, pieces)) <= size:
        pieces.append(os.read(descriptor, size + 1 - sum(map(len, pieces))))
    return b"".join(pieces)


def _check_kind(status: os.stat_result, name: str, hard_links: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BundleAlteredError(f"{name} of the bundle is not a regular file. {_GET_AGAIN}")
    if status.st_nlink > 1 and not hard_links:
        raise BundleLinkError(
            f"{name} of the bundle has a second name on this disk (a hard link), through which it could change. "
            "Copy the bundle with `cp -r --no-preserve=links` and use the copy."
        )


def _list_into(listing: Listing, folder: int, prefix: str, depth: int) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if len(listing.files) + len(listing.folders) >= MAX_ENTRIES or depth > MAX_DEPTH:
                raise BundleAlteredError(f"The bundle's folder holds far more than a bundle does. {_GET_AGAIN}")
            if entry.is_symlink():
                raise _link(name)
            if entry.is_dir(follow_symlinks=False):
                listing.folders.add(name)
                _descend(listing, folder, entry.name, name, depth)
            elif entry.is_file(follow_symlinks=False):
                listing.files.add(name)
            else:
                raise BundleAlteredError(f"{_shown(name)} in the bundle is neither file nor folder. {_GET_AGAIN}")


def _descend(listing: Listing, folder: int, entry: str, name: str, depth: int) -> None:
    try:
        with folder_descriptor(entry, folder) as inner:
            _list_into(listing, inner, name + "/", depth + 1)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> BundleError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return _link(name)
    return BundleError(f"{_shown(name)} of the bundle can't be read ({error.strerror}). Check its permissions.")


def _link(name: str) -> BundleLinkError:
    return BundleLinkError(
        f"{_shown(name)} in the bundle is a link or lies behind one; a bundle holds none. Copy the bundle with "
        "`cp -rL` if you trust where the link leads, or get it again from where it came from."
    )


def _shown(name: str) -> str:
    """A file name as it may stand in a message: one line, printable."""
    return ascii(name)[1:-1][:200]
