"""The digest of a file by pieces: the same in any number of threads, and another for any other content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.runtime.engine.pieces import PIECE_BYTES, digest_of_bytes, digest_of_file


def reference(content: bytes) -> str:
    """As the module describes it, one piece after the other."""
    pieces = [hashlib.sha256(content[i : i + PIECE_BYTES]).digest() for i in range(0, len(content), PIECE_BYTES)]
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def of_file(path: Path, content: bytes, size: int) -> str:
    path.write_bytes(content)
    with path.open("rb") as stream:
        return digest_of_file(stream.fileno(), size)


@pytest.mark.parametrize(
    "size", [0, 1, (1 << 20) + 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 5]
)
def test_file_and_memory_give_the_digest_that_is_described(tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    assert of_file(tmp_path / "file", content, size) == digest_of_bytes(content) == reference(content)


def test_any_other_content_has_another_digest(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(2 * PIECE_BYTES + 5)
    expected = digest_of_bytes(content)
    one, two, rest = content[:PIECE_BYTES], content[PIECE_BYTES : 2 * PIECE_BYTES], content[2 * PIECE_BYTES :]
    others = [two + one + rest, content[:-1], content + b"\0", one + rest]
    for place in (0, PIECE_BYTES - 1, PIECE_BYTES, len(content) - 1):
        others.append(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert expected not in {digest_of_bytes(other) for other in others}
    assert of_file(tmp_path / "file", content[:-1], len(content)) != expected
