"""New markers: a name gets a meaning only by a vector that someone gives for it.

The published loader gives an unknown name a zero vector, so that it runs in silence with no identity (Haiku,
2605.00925, `MarkerEmbedding`). The recipe behind the published protein vectors is not known in full, so a new one can't
be made here.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import PanelError, UnreadableDatasetError, UsageError
from haiku_edge.runtime.vocabulary import MARKER_VECTOR_WIDTH, PUBLISHED_MARKERS, canonical_markers, is_blank

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,39}")
_MAX_BYTES = 16 * 2**20
"""A thousand vectors with room to spare; a larger file, or one that unpacks to more, is another one."""
_SUFFIX = ".npy"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    LookupError,
    SyntaxError,
    RuntimeError,  # an archive with a password, or packed in a way that Python does not know
    zipfile.BadZipFile,
    zlib.error,
)
"""What a file that is no NumPy file, or is cut short, raises."""


def add_marker(
    table: Mapping[str, NDArray[np.float32]], name: str, vector: NDArray[np.floating], width: int = MARKER_VECTOR_WIDTH
) -> dict[str, NDArray[np.float32]]:
    """A marker table with one marker more.

    Args:
        table: Name → (width,) float32.
        name: The new name: letters, digits, '_', '+', '-'; neither in the table nor another name of one that is.
        vector: (width,) of any float type, finite, not all zero.
        width: What the model's marker projection takes.

    Returns:
        A new table, the new marker last.

    Raises:
        PanelError: The name is taken or malformed, or the vector has another shape or type, is zero or not finite.
    """
    _check_name(name, tuple(table))
    return {**table, name: _checked(name, np.asarray(vector), width)}


def read_marker_vectors(
    arguments: Iterable[str], known: Sequence[str] = PUBLISHED_MARKERS, width: int = MARKER_VECTOR_WIDTH
) -> dict[str, NDArray[np.float32]]:
    """Read the vectors of new markers.

    Args:
        arguments: `NAME=FILE.npy` for one marker, `FILE.npz` for several (its keys are the names).
        known: Names that the model has already.
        width: As in `add_marker`.

    Returns:
        Name → (width,) float32, only the new ones, in the given order.

    Raises:
        UsageError: An argument has another form.
        UnreadableDatasetError: A file is missing or no NumPy file.
        PanelError: As `add_marker`.
    """
    new: dict[str, NDArray[np.float32]] = {}
    for argument in arguments:
        for name, vector in _read(argument, width):
            _check_name(name, (*known, *new))
            new[name] = _checked(name, vector, width)
    return new


def _read(argument: str, width: int) -> list[tuple[str, NDArray[np.generic]]]:
    name, equals, file = argument.partition("=")
    path = Path(file if equals else argument)
    if bool(equals) != (path.suffix == ".npy") or path.suffix not in {".npy", ".npz"}:
        raise UsageError(f"{argument!r} is no new marker. Write NAME=FILE.npy, or FILE.npz with one array per name.")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        if not equals:
            return _read_archive(path, width)
        with path.open("rb") as stream:
            return [(name, _read_array(stream, name, width))]
    except _DAMAGED as error:
        raise UnreadableDatasetError(
            f"{path.name} is no NumPy file of marker vectors ({type(error).__name__}). "
            "Save it with numpy.save or numpy.savez."
        ) from None


def _read_archive(path: Path, width: int) -> list[tuple[str, NDArray[np.generic]]]:
    """The arrays of an .npz; each is read no further than a vector goes."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _MAX_BYTES:
            raise ValueError("unpacks to too much")
        found = []
        for entry in entries:
            name = entry.filename.removesuffix(_SUFFIX)
            with archive.open(entry) as file:
                found.append((name, _read_array(file, name, width)))
        return found


def _read_array(file: IO[bytes], name: str, width: int) -> NDArray[np.generic]:
    """The array in a file, once its header says that it is a vector: a small file may unpack to a huge array."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError("an unknown version")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    _check_shape(name, shape, dtype, width)
    data = file.read(width * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape)


def _check_name(name: str, known: tuple[str, ...]) -> None:
    if not _NAME.fullmatch(name) or is_blank(name):
        raise PanelError(f"{name!r} can't name a marker: use up to 40 letters, digits, '_', '+' or '-'.")
    try:
        taken = canonical_markers((name,), known)[0]
    except PanelError:
        return
    raise PanelError(
        f"{name!r} is known already, as {taken}. A marker has one vector: use that, or choose another name."
    )


def _checked(name: str, vector: NDArray[np.generic], width: int) -> NDArray[np.float32]:
    _check_shape(name, vector.shape, vector.dtype, width)
    with np.errstate(over="ignore"):
        values = vector.astype(np.float32)
    if not np.isfinite(values).all() or not values.any():
        raise PanelError(
            f"The vector of {name} holds NaN, infinities or only zeros, so it would give the marker no meaning."
        )
    return values


def _check_shape(name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], width: int) -> None:
    if shape != (width,) or not np.issubdtype(dtype, np.floating):
        raise PanelError(
            f"The vector of {name} is {dtype} {shape}, but the model takes {width} floating-point numbers."
        )
