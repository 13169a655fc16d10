"""Carry a bundle's files over into another bundle: every one is what its manifest says, or nothing is written."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from haiku_edge.runtime.atomic import output_error
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.errors import BundleAlteredError

from .bundle import Content

IN_MEMORY = 16 << 20
"""Files up to this size are carried over in memory, larger ones as copies on the new bundle's disk."""


def carry_files(bundle: Bundle, names: Iterable[str], folder: Path) -> dict[str, Content]:
    """Files of a bundle for `write_bundle`: small ones as bytes, large ones as copies that the writer may take.

    Args:
        bundle: The old bundle.
        names: Which of its files.
        folder: A temporary folder on the new bundle's disk.

    Raises:
        BundleAlteredError: A file is not the one that was verified when the bundle was opened.
        DiskFullError, OutputNotWritableError: It can't be copied.
    """
    return {
        name: bundle.read(name)
        if bundle.manifest.files[name].size <= IN_MEMORY
        else _copy(bundle, name, folder / str(number))
        for number, name in enumerate(names)
    }


def _copy(bundle: Bundle, name: str, target: Path) -> Path:
    """A copy that is what the manifest says."""
    try:
        shutil.copyfile(bundle.root / name, target, follow_symlinks=False)
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise output_error(error, target) from error
    if digest != bundle.manifest.files[name].sha256:
        raise BundleAlteredError(f"{name} of the bundle was altered since it was opened. Get the bundle again.")
    return target
