"""Taking the DICOM files out of a zip, without trusting it."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import CorruptSlideError, DiskFullError, NotASlideError
from .names import printable, shown

MAX_ENTRIES = 20_000
"""Members of an archive. A slide has a few dozen instances, a concatenated one some hundreds."""

MAX_RATIO = 200
"""Bytes unpacked for one packed. Compressed frames hardly shrink, plain blank glass about a hundredfold, a bomb a
thousandfold."""

_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")
"""Of a zip's first member, and of the end record of one that has none."""

_HEAD = 132
_MAGIC = b"DICM"
_BLOCK = 1 << 20
_ENCRYPTED = 0x1


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does, whole or cut short; a slide may hold the marks further on by chance."""
    with path.open("rb") as file:
        return file.read(len(_BEGINNINGS[0])) in _BEGINNINGS


def extract_dicom(archive: Path, folder: Path) -> dict[Path, str]:
    """Write every DICOM file of a zip into a folder, under names of our own; nothing else of it is written.

    Args:
        archive: The zip file.
        folder: An empty private folder.

    Returns:
        The files written, and what messages call each: its name in the archive.

    Raises:
        NotASlideError: The archive holds no DICOM, is encrypted, or looks made to do harm (links, bombs).
        CorruptSlideError: It is damaged or cut short.
        DiskFullError: The folder's disk has no room for it.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            targets = {folder / f"{index:06}.dcm": one for index, one in enumerate(_members(packed, archive, folder))}
            written = {path: _called(one, archive) for path, one in targets.items() if _extract(packed, one, path)}
    except (NotImplementedError, RuntimeError) as error:
        raise NotASlideError(
            f"{shown(archive)} is packed in a way that can't be read. Unpack it and give the folder."
        ) from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; bzip2 reports damage as an OSError without a number
        raise CorruptSlideError(
            f"{shown(archive)} is a zip that is damaged or cut short: its contents don't unpack. Copy it again."
        ) from error
    if not written:
        raise NotASlideError(f"{shown(archive)} holds no DICOM file. Give a zip of the instances of one DICOM slide.")
    return written


def _called(member: zipfile.ZipInfo, archive: Path) -> str:
    name = PurePosixPath(member.filename.replace("\\", "/")).name
    return f"{printable(name) or 'a file'} in {shown(archive)}"


def _members(packed: zipfile.ZipFile, archive: Path, folder: Path) -> list[zipfile.ZipInfo]:
    """The archive's files, after its own word on them has been checked."""
    members = [member for member in packed.infolist() if not member.is_dir()]
    if len(members) > MAX_ENTRIES:
        raise NotASlideError(
            f"{shown(archive)} holds {len(members):,} files, more than any slide. Give the slide's own."
        )
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        raise NotASlideError(
            f"{shown(archive)} holds links, which a DICOM slide never does. Pack the files themselves."
        )
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise NotASlideError(f"{shown(archive)} is encrypted. Unpack it and give the folder.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_RATIO * max(1, archive.stat().st_size):
        raise NotASlideError(
            f"{shown(archive)} would unpack to over {MAX_RATIO} times its size, which no slide does. "
            "Unpack it yourself if you trust it, and give the folder."
        )
    if unpacked > shutil.disk_usage(folder).free:
        raise DiskFullError(
            f"{shown(archive)} unpacks to {unpacked:,} bytes, and the disk of temporary files has no room for them. "
            "Free some, set TMPDIR to another disk, or unpack it yourself and give the folder."
        )
    return members


def _extract(packed: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> bool:
    """Write one member if it is DICOM, reading no more than it said it would hold."""
    with packed.open(member) as source:
        head = source.read(_HEAD)
        if head[-len(_MAGIC) :] != _MAGIC or len(head) != _HEAD:
            return False
        with target.open("xb") as file:
            for block in _blocks(source, head, member.file_size):
                file.write(block)
    return True


def _blocks(source: IO[bytes], head: bytes, limit: int) -> Iterator[bytes]:
    left = limit
    block = head
    while block:
        left -= len(block)
        if left < 0:
            raise zipfile.BadZipFile("a member is longer than the archive says")
        yield block
        block = source.read(_BLOCK)
