"""A PyTorch file is a zip of raw tensors and one pickle. Before PyTorch sees it, the zip is judged by its directory."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch

from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointUnsafeError

from .files import check_file

MAX_STATE_BYTES = 16 << 30
"""Largest state file: five times the released one."""

MAX_ENTRIES = 50_000
MAX_PICKLE_BYTES = 64 << 20
"""Largest pickle of names and shapes; the released one has about 0.2 MB."""

_ZIP = b"PK\x03\x04"
_PICKLES = (b"\x80", b"(", b"c")
_DATA = "data.pkl"
_SAFE = {"collections", "torch", "torch._utils", "torch._tensor", "torch.storage", "torch.nn.parameter"}


def load_archive(path: Path, limit: int = MAX_STATE_BYTES) -> Any:
    """Load what a `.pt` file holds; tensors stay on the disk, mapped, and no code of the file runs.

    Raises:
        CheckpointIncompleteError: The file is missing, cut short or no PyTorch file.
        CheckpointUnsafeError: It is of the old form that is all pickle, holds programs or compressed data, or names
            anything in its pickle that is no tensor.
    """
    size = check_file(path, limit)
    _check_start(path)
    pickled = _check_directory(path, size)
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        raise _unsafe(path, pickled) from None
    except MemoryError:
        raise
    except Exception as error:  # PyTorch raises whatever its C++ side meets in a damaged file
        raise CheckpointIncompleteError(
            f"{path.name} is damaged: PyTorch can't put its tensors together ({type(error).__name__}). "
            "Download the checkpoint again."
        ) from None


def _check_start(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(4)
    if start == _ZIP:
        return
    if start[:1] in _PICKLES or _tarred(path):
        raise CheckpointUnsafeError(
            f"{path.name} is in PyTorch's old form, which is a pickle from end to end. Save it again with "
            "torch.save on a machine where you trust it, or take the released file."
        )
    raise CheckpointIncompleteError(f"{path.name} is no PyTorch file. Download the checkpoint again.")


def _tarred(path: Path) -> bool:
    """Whether the file is a tar, as PyTorch wrote before version 0.4."""
    with path.open("rb") as stream:
        stream.seek(257)
        return stream.read(5) == b"ustar"


def _check_directory(path: Path, size: int) -> bytes:
    """Judge every entry, and return the pickle's bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path, entries, size)
            named = {entry.filename.partition("/")[2]: entry for entry in entries}
            if _DATA not in named:
                raise CheckpointIncompleteError(f"{path.name} is a zip, but no PyTorch file: it has no {_DATA}.")
            if named[_DATA].file_size > MAX_PICKLE_BYTES:
                raise CheckpointUnsafeError(f"The pickle in {path.name} is far larger than names and shapes are.")
            if "byteorder" in named and archive.read(named["byteorder"]) != b"little":
                raise CheckpointUnsafeError(f"{path.name} was written on a machine of the other byte order.")
            return archive.read(named[_DATA])
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError):
        raise CheckpointIncompleteError(
            f"{path.name} is cut short or damaged: the directory at its end can't be read. "
            "Download the checkpoint again."
        ) from None


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    if len(entries) > MAX_ENTRIES:
        raise CheckpointUnsafeError(f"{path.name} holds {len(entries):,} parts; no checkpoint has so many.")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise CheckpointUnsafeError(
            f"{path.name} holds compressed parts, which PyTorch never writes and which could grow without end."
        )
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointUnsafeError(f"{path.name} states parts that are larger than the file: they overlap.")
    if any("/code/" in entry.filename or entry.filename.endswith("constants.pkl") for entry in entries):
        raise CheckpointUnsafeError(f"{path.name} is a TorchScript program, not a file of weights.")


def _unsafe(path: Path, pickled: bytes) -> CheckpointUnsafeError:
    foreign = [name for name in _names(pickled) if name.rpartition(".")[0] not in _SAFE]
    found = f" ({', '.join(ascii(name)[1:-1] for name in foreign[:3])})" if foreign else ""
    return CheckpointUnsafeError(
        f"{path.name} holds pickled objects that are no tensors{found}. They could run any program, so nothing of the "
        "file was loaded. Take the released file, or one saved as a plain dictionary of tensors."
    )


def _names(pickled: bytes) -> list[str]:
    """The classes and functions that a pickle asks for, without running it."""
    names: list[str] = []
    texts: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name in ("GLOBAL", "INST"):
                names.append(str(argument).replace(" ", "."))
            elif operation.name == "STACK_GLOBAL":
                names.append(".".join(texts[-2:]))
            elif isinstance(argument, str):
                texts.append(argument)
    except ValueError:
        pass
    return names
