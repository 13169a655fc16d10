"""The folder that a run writes into, checked before the work begins."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from ..atomic import make_directory, output_error
from ..errors import OutputExistsError

RESULT = "result.json"
_UNSAFE = re.compile(r"[^\w.\- ]+")


def prepare_folder(out: Path, slide_name: str, *, force: bool) -> Path:
    """Make `out/<slide name>`, and see that it can be written.

    Raises:
        OutputExistsError: A finished result is there and `force` is off.
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    folder = out / (_UNSAFE.sub("_", slide_name).strip(". ") or "slide")
    if (folder / RESULT).exists() and not force:
        raise OutputExistsError(
            f"{folder} already holds a finished result. Pass --force to replace it, or another --out."
        )
    make_directory(folder)
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        raise output_error(error, folder) from error
    return folder
