"""One digest for a file of many megabytes that several threads can compute: over the digests of its pieces.

A file is compared with it at every start, and SHA-256 alone takes about a second a gigabyte on one thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

PIECE_BYTES = 16 << 20
"""Part of the cache's format: the last piece is what is left, and an empty file has none."""

_BUFFER_BYTES = 1 << 20


def digest_of_file(descriptor: int, size: int) -> str:
    """SHA-256 (hex) over the SHA-256 of each piece of the first `size` bytes of an open file.

    A file that is shorter gives another digest than it would if it had that size.

    Raises:
        OSError: It can't be read.
    """

    def piece(start: int) -> bytes:
        return _hash_range(descriptor, start, min(start + PIECE_BYTES, size))

    return _digest(piece, size)


def digest_of_bytes(content: bytes) -> str:
    """The same of bytes in memory."""
    view = memoryview(content)
    return _digest(lambda start: hashlib.sha256(view[start : start + PIECE_BYTES]).digest(), len(content))


def _digest(piece: Callable[[int], bytes], size: int) -> str:
    starts = range(0, size, PIECE_BYTES)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "digest") as pool:
        return hashlib.sha256(b"".join(pool.map(piece, starts))).hexdigest()


def _hash_range(descriptor: int, start: int, stop: int) -> bytes:
    digest = hashlib.sha256()
    for part in _parts(descriptor, start, stop):
        digest.update(part)
    return digest.digest()


def _parts(descriptor: int, start: int, stop: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(_BUFFER_BYTES, stop - start)))
    while start < stop and (count := os.preadv(descriptor, [buffer[: stop - start]], start)):
        yield buffer[:count]
        start += count
