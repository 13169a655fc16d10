"""A set of files that take their places together, once every one of them is whole and on the disk."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..atomic import make_directory, output_error, sync_directory

_HIDDEN = ".outputs-"
"""How the name of the folder begins in which files wait for their place."""


class Staging:
    """Files on their way into a folder, in a hidden folder inside it.

    Attributes:
        directory: Where the files will be.
        names: Paths below `directory` with '/', in the order of writing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names: list[str] = []
        self._waiting = directory / f"{_HIDDEN}{secrets.token_hex(4)}"

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Write one file; it is on the disk when the block ends.

        Raises:
            OutputNotWritableError, DiskFullError: It can't be written; the message names the file's place.
        """
        waiting = self._waiting / name
        try:
            waiting.parent.mkdir(parents=True, exist_ok=True)
            with waiting.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise output_error(error, self.directory / name) from error
        self.names.append(name)

    def write(self, name: str, content: bytes) -> None:
        """Write one file from memory; see `open` for what it raises."""
        with self.open(name) as stream:
            stream.write(content)

    def publish(self, older: Iterable[Path]) -> tuple[Path, ...]:
        """Put all files in place, in the order of writing.

        Args:
            older: Files of an earlier run, which go before the first new one comes: the two are never mixed, whenever
                this is cut short.

        Returns:
            Where the files are.

        Raises:
            OutputNotWritableError, DiskFullError: A file can't be removed or moved.
        """
        places = tuple(self.directory / name for name in self.names)
        try:
            for path in older:
                path.unlink(missing_ok=True)
            for name, place in zip(self.names, places, strict=True):
                place.parent.mkdir(exist_ok=True)
                (self._waiting / name).replace(place)
            for folder in {place.parent for place in places} | {self.directory}:
                sync_directory(folder)
        except OSError as error:
            raise output_error(error, self.directory) from error
        return places

    def discard(self) -> None:
        """Remove what did not come to its place."""
        shutil.rmtree(self._waiting, ignore_errors=True)


@contextmanager
def staging(directory: Path) -> Iterator[Staging]:
    """Begin a set of files; without `publish`, the block's end leaves the folder as it was.

    What a killed run left waiting is removed first.

    Raises:
        OutputNotWritableError, DiskFullError: The folder can't be made.
    """
    make_directory(directory)
    with suppress(OSError):
        for leftover in directory.glob(f"{_HIDDEN}*"):
            shutil.rmtree(leftover, ignore_errors=True)
    files = Staging(directory)
    try:
        yield files
    finally:
        files.discard()
