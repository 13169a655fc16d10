"""What files and slides are called in messages and results."""

from __future__ import annotations

import unicodedata
from pathlib import Path

DICOM_FORMAT = "DICOM-WSI"
"""`SlideInfo.format` of every DICOM slide, whichever reader takes it."""

_UNPRINTABLE = ("Cc", "Cs")
"""Unicode's categories of control characters, and of the surrogates that stand for bytes that are no text."""


def printable(text: str) -> str:
    """The text with a question mark for each character that can't be encoded or would steer a terminal."""
    return "".join("?" if unicodedata.category(character) in _UNPRINTABLE else character for character in text)


def shown(path: Path) -> str:
    """A file's or folder's own name, printable; never the folders above, which may be named after a patient."""
    return printable(path.name or str(path))
