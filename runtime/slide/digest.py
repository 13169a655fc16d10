"""The digest that names a slide by its contents."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import CorruptSlideError
from .types import SlideInfo


def slide_digest(info: SlideInfo) -> str:
    """SHA-256 of all bytes of the slide's files, independent of their names and places.

    The digest of a slide in one file is that file's own, as `sha256sum` prints it. That of several files is taken over
    the sorted hexadecimal digests of each, one a line, so that a renamed or moved copy keeps it.

    Returns:
        64 hexadecimal digits.

    Raises:
        CorruptSlideError: A file can't be read to its end.
    """
    digests = sorted(_file_digest(path) for path in info.files)
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorruptSlideError(
            f"A file of the slide can't be read to its end ({error.strerror}). Check the disk, or copy the slide again."
        ) from error
