"""A path for libraries that read and write only paths, to bytes that no one else can reach."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_path(data: bytes = b"") -> Iterator[Path]:
    """A path that holds `data`, in memory where the system can, else in a private folder; gone when the block ends.

    Raises:
        OSError: There is no room for it.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("haiku-edge", os.MFD_CLOEXEC)
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(data)
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory(prefix="haiku-edge-") as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        yield path
