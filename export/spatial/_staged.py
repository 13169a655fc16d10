"""A folder that appears under its name once it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haiku_edge.runtime.atomic import as_output_errors, replace_folder, sync_directory


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` that takes its place, or an older one's, once the block ends well, and is gone otherwise.

    Raises:
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    with as_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        try:
            beside.chmod(0o755)
            yield beside
            for file in beside.iterdir():
                _flush(file)
            sync_directory(beside)
            replace_folder(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
