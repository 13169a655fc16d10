"""Read a pickle of plain containers and arrays without running anything that it says.

A pickle is a program: it names functions, and the reader calls them. Here every name that it may use stands for a plain
value of this module, and any other name is a refusal. Even numpy's own functions are not called: their `__setstate__`
believes flags that can make numpy follow forged pointers.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UnreadableDatasetError

from ._pickle_scan import ExcessiveError, scan_pickle

MAX_BYTES = 256 << 20
"""Largest pickle that is read: a patch of 124 channels has 8 MB, one of 64-bit numbers 62 MB."""

MAX_NODES = 100_000
"""Values in the containers of a pickle; arrays count as one each."""

MAX_DEPTH = 50
"""Containers within containers."""

_KINDS = frozenset("biufUS")
_MAX_ITEM = 4096
_LONGEST_NAME = 100


def read_pickle(path: Path) -> object:
    """The object in a pickle file: dicts, lists, tuples, sets, texts, numbers and numpy arrays of them.

    Raises:
        UnreadableDatasetError: The file is missing, damaged or too large, names anything else, such as a function, or
            would grow in memory beyond what a patch holds.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise UnreadableDatasetError(f"{path.name} can't be read ({error.strerror}).") from None
    if size > MAX_BYTES:
        raise UnreadableDatasetError(f"{path.name} has {size >> 20} MB; a patch has less than {MAX_BYTES >> 20} MB.")
    try:
        scan_pickle(data)
        return _Finisher().finished(_Unpickler(data).load())
    except _ForeignNameError as error:
        raise UnreadableDatasetError(
            f"{path.name} was refused: it is a pickle that names {error}, which reading it would run. A patch holds "
            "only numbers, texts and arrays. Do not open it with other programs before you know where it is from."
        ) from None
    except ExcessiveError as error:
        raise UnreadableDatasetError(
            f"{path.name} was refused: it holds {error}, which no patch does. Do not open it with other programs "
            "before you know where it is from."
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise UnreadableDatasetError(
            f"{path.name} is no pickle of arrays, or is damaged ({type(error).__name__}). Copy it again."
        ) from None


class _ForeignNameError(Exception):
    """The pickle names something that is not on the list."""


class _Dtype:
    """What a pickle says of a dtype: its code and byte order, and nothing else of its state."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or len(code) > _LONGEST_NAME:
            raise _ForeignNameError("an array type without a name")
        kind = np.dtype(code)
        if kind.kind not in _KINDS or kind.itemsize > _MAX_ITEM:
            raise _ForeignNameError(f"the array type {code!r}")
        self.value: np.dtype[Any] = kind

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array that is filled from the bytes in the pickle."""

    value: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: object, dtype: object, shape: object, order: object = "C") -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or not isinstance(shape, tuple):
        raise TypeError("not an array of plain values")
    flat: NDArray[Any] = np.frombuffer(data, dtype.value)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    return _array(data, dtype, shape, order)


def _scalar(dtype: object, data: object = b"") -> object:
    return _array(data, dtype, (1,))[0].item()


def _bytes() -> bytes:
    """Old protocols write empty bytes as a call without arguments."""
    return b""


_NAMES: dict[str, object] = {
    "ndarray": _Array,
    "dtype": _Dtype,
    "_reconstruct": _reconstruct,
    "_frombuffer": _from_buffer,
    "scalar": _scalar,
}
_PLACES = frozenset(
    f"{package}{module}" for package in ("numpy.core", "numpy._core") for module in (".multiarray", ".numeric")
)


class _Unpickler(pickle.Unpickler):
    """Reads one pickle.

    What a pickle remembers it can use again and again, so what the calls make is counted over all of it.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._bytes_left = MAX_BYTES
        self._nodes_left = MAX_NODES

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        if (module == "numpy" and name in ("ndarray", "dtype")) or (module in _PLACES and name in _NAMES):
            return _NAMES[name]
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
            return self._set if name == "set" else self._frozenset
        if module in ("builtins", "__builtin__") and name == "bytes":
            return _bytes
        raise _ForeignNameError(f"{module}.{name}"[:_LONGEST_NAME])

    def _encode(self, text: str, encoding: str) -> bytes:
        if not isinstance(encoding, str) or encoding not in ("latin1", "latin-1"):
            raise _ForeignNameError("another encoding than latin1")
        self._bytes_left -= len(text)
        if self._bytes_left < 0:
            raise ExcessiveError("more bytes than it has")
        return text.encode("latin-1")

    def _set(self, values: Collection[Any] = ()) -> set[Any]:
        return set(self._counted(values))

    def _frozenset(self, values: Collection[Any] = ()) -> frozenset[Any]:
        return frozenset(self._counted(values))

    def _counted(self, values: Collection[Any]) -> Collection[Any]:
        self._nodes_left -= len(values)
        if self._nodes_left < 0:
            raise ExcessiveError(f"more than {MAX_NODES:,} values")
        return values


class _Finisher:
    """Puts every array in its place; what stands in several places is finished once."""

    def __init__(self) -> None:
        self._done: dict[int, object] = {}
        self._open: set[int] = set()
        self._nodes_left = MAX_NODES

    def finished(self, value: object) -> object:
        """The value with every array in its place.

        Raises:
            ExcessiveError: It holds too many values, too deep, or itself.
        """
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise ExcessiveError(f"more than {MAX_NODES:,} values")
        if isinstance(value, _Array):
            return value.value
        if not isinstance(value, dict | list | tuple):
            return value
        if id(value) not in self._done:
            if id(value) in self._open or len(self._open) >= MAX_DEPTH:
                raise ExcessiveError(f"values more than {MAX_DEPTH} deep")
            self._open.add(id(value))
            self._done[id(value)] = self._container(value)
            self._open.remove(id(value))
        return self._done[id(value)]

    def _container(self, value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> object:
        if isinstance(value, dict):
            return {self.finished(key): self.finished(item) for key, item in value.items()}
        return type(value)(self.finished(item) for item in value)
