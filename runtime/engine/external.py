"""Which files a graph would open: found in its bytes, before ONNX Runtime reads them.

A graph may keep weights in files beside it. ONNX Runtime looks for them by itself, in the folder where the process
happens to run, and it knows names that are no files but addresses in memory. So every name is read here first, from
the protobuf encoding itself (onnx.proto, whose field numbers never change), and only names of verified bytes pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..errors import BundleContentError

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING, _ENTRY = range(9)

_NESTED = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {13: _ENTRY},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
"""Field number → message, for the messages of onnx.proto on the way to a tensor's `external_data`."""

_ORT_FORMAT = b"ORTM"
_KNOWN_KEYS = {"location", "offset", "length", "checksum"}
_MAX_DEPTH = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def check_locations(model: bytes, allowed: Collection[str], what: str = "tower's graph") -> None:
    """Refuse a graph that would open any file but those whose verified bytes it is given.

    Args:
        model: The bytes of the graph.
        allowed: Names of the files that it may refer to.
        what: What the graph is, for the message.

    Raises:
        BundleContentError: It refers to another place, or is no ONNX model.
    """
    unknown = sorted(external_locations(model, what) - set(allowed))
    if unknown:
        raise BundleContentError(
            f"The {what} wants weights from {ascii(unknown[0])[:200]}, which the bundle does not name as its "
            "own. The graph was not opened. Get the bundle again from where it came from, or export it again."
        )


def external_locations(model: bytes, what: str = "tower's graph") -> set[str]:
    """Every location that tensors of a serialised ONNX model refer to.

    Args:
        model: The bytes of the graph.
        what: What the graph is, for the message.

    Raises:
        BundleContentError: The bytes are no ONNX model, or a reference in it is malformed.
    """
    try:
        if bytes(model[4:8]) == _ORT_FORMAT:
            raise ValueError("another format, with its own way to refer to files")
        return set(_locations(memoryview(model), _MODEL, 0))
    except (ValueError, IndexError, UnicodeDecodeError):
        raise BundleContentError(
            f"The {what} is no ONNX model, or refers to its weights in a form that no exporter writes. "
            "Export the bundle again."
        ) from None


def _locations(data: memoryview, message: int, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deep")
    if message == _ENTRY:
        yield from _location(data)
        return
    nested = _NESTED[message]
    for number, content in _fields(data):
        if number in nested:
            if content is None:
                raise ValueError("a message is no message")
            yield from _locations(content, nested[number], depth + 1)


def _location(entry: memoryview) -> Iterator[str]:
    """The value of one key-value pair of `external_data`, if its key is `location`."""
    fields = [(number, content) for number, content in _fields(entry)]
    if sorted(number for number, _ in fields) != [1, 2]:
        raise ValueError("not one key and one value")
    key, value = (bytes(content or b"").decode() for _, content in sorted(fields, key=lambda field: field[0]))
    if key not in _KNOWN_KEYS:
        raise ValueError("an unknown key")
    if key == "location":
        yield value


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Number and content of each field; None where the content is a number."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        start = position
        if kind == _BYTES:
            length, start = _varint(data, position)
            position = start + length
        elif kind == _VARINT:
            _, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("a wire type that ONNX does not use")
        if number == 0 or position > len(data):
            raise ValueError("a field beyond the end")
        yield number, data[start:position] if kind == _BYTES else None


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """The number at a position, and the position behind it."""
    value = 0
    for shift in range(_LONGEST_VARINT):
        byte = data[position + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise ValueError("an endless number")
