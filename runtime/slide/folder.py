"""The DICOM files of a folder, all of them or a refusal; never a walk through a whole disk."""

from __future__ import annotations

import errno
import os
from collections import deque
from pathlib import Path

from ..errors import NotASlideError
from .instances import is_dicom
from .names import shown

MOST_ENTRIES = 20_000
"""Files and folders that are looked at. A slide has a few dozen instances, a concatenated one some hundreds; a folder
that holds more is an archive of many slides, or a disk."""

MOST_DEPTH = 8
"""Folders within folders. Media that scanners and archives write nest patient, study and series, four deep."""


def dicom_files(folder: Path, name: str, *, deep: bool = True) -> tuple[Path, ...]:
    """All DICOM files in a folder, sorted.

    A file or sub-folder that can't be read is refused, not passed over: it may be the full-resolution instance, and
    without it the slide would be read from a coarser level, with other results.

    Args:
        folder: Where to look.
        name: What messages call the slide.
        deep: Whether to look into its sub-folders too, but not through links.

    Raises:
        NotASlideError: A file or folder can't be read, or there are too many.
    """
    files = [Path(entry.path) for entry in _entries(folder, name, deep) if _is_file(entry, name)]
    return tuple(sorted(path for path in files if _bears_mark(path, name)))


def reason(error: OSError) -> str:
    """The system's words for an error, as they stand within a sentence."""
    return (error.strerror or "input/output error").lower()


def _entries(folder: Path, name: str, deep: bool) -> list[os.DirEntry[str]]:
    """All that is no folder. Nothing is opened, and what can't be listed is said only once the bounds are kept."""
    found: list[os.DirEntry[str]] = []
    refused: list[OSError] = []
    seen = 0
    waiting = deque([(str(folder), 0)])
    while waiting:
        place, depth = waiting.popleft()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES:
                        raise _too_large(f"holds more than {MOST_ENTRIES:,} files and folders", name)
                    if not entry.is_dir(follow_symlinks=False):
                        found.append(entry)
                    elif deep and depth == MOST_DEPTH:
                        raise _too_large(f"holds folders more than {MOST_DEPTH} deep", name)
                    elif deep:
                        waiting.append((entry.path, depth + 1))
        except OSError as error:
            refused.append(error)
    if refused:
        raise NotASlideError(
            f"A folder of {name} can't be listed ({reason(refused[0])}), so its DICOM instances can't be found. "
            "Make it readable, or put the slide's own files into a folder of their own."
        ) from refused[0]
    return found


def _is_file(entry: os.DirEntry[str], name: str) -> bool:
    try:
        return entry.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself leads to no file
            return False
        raise _unreadable(Path(entry.path), name, error) from error


def _bears_mark(path: Path, name: str) -> bool:
    try:
        return is_dicom(path)
    except OSError as error:
        raise _unreadable(path, name, error) from error


def _unreadable(path: Path, name: str, error: OSError) -> NotASlideError:
    return NotASlideError(
        f"{shown(path)}, in the folder of {name}, can't be read ({reason(error)}), and it may be a part of the slide. "
        "Make it readable, or move it elsewhere if it is none."
    )


def _too_large(what: str, name: str) -> NotASlideError:
    return NotASlideError(f"The folder of {name} {what}, more than any slide. Give the folder of one slide.")
