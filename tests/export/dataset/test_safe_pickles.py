"""A pickle is a program: what of it is read, and what is never run."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haiku_edge.export.dataset._pickle import read_pickle
from haiku_edge.runtime.errors import UnreadableDatasetError

ARRAYS = (
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    np.arange(6, dtype=">i4"),
    np.array(["CD8", "PGP9.5"]),
    np.zeros((0, 3), np.int64),
)


def save(path: Path, value: object, protocol: int) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_every_protocol_gives_the_array_that_pickle_itself_gives(
    tmp_path: Path, protocol: int, array: np.ndarray[Any, Any]
) -> None:
    value = {"codex": array, "biomarker_name": ["CD8", np.str_("CD4")], "more": (1, 2.5, None, {"a"}, array)}
    path = save(tmp_path / "patch.pkl", value, protocol)
    expected = pickle.loads(path.read_bytes())  # the file is this test's own
    found = read_pickle(path)
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["codex"], expected["codex"])
    assert found["codex"].dtype in (array.dtype, expected["codex"].dtype)  # numpy reads into the machine's byte order
    assert found["biomarker_name"] == expected["biomarker_name"]
    assert found["more"][:4] == expected["more"][:4]
    np.testing.assert_array_equal(found["more"][4], array)


class Attack:
    """Runs a command where a reader calls what a pickle names."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize("how", ["system", "eval", "mkdir", "hidden in an array's place"])
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path, how: str) -> None:
    witness = tmp_path / "witness"
    attack = {
        "system": Attack(os.system, f"touch {witness}"),
        "eval": Attack(eval, f"__import__('os').mkdir({str(witness)!r})"),
        "mkdir": Attack(os.mkdir, str(witness)),
        "hidden in an array's place": {"codex": Attack(os.system, f"touch {witness}"), "biomarker_name": ["CD8"]},
    }[how]
    path = save(tmp_path / "patch.pkl", attack, 4)
    with pytest.raises(UnreadableDatasetError, match="refused"):
        read_pickle(path)
    assert not witness.exists()
    pickle.loads(path.read_bytes())  # the attack is real: pickle itself runs it
    assert witness.exists()


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "patch.pkl", np.array([{"a": 1}, None], dtype=object), 4)
    with pytest.raises(UnreadableDatasetError, match="refused"):
        read_pickle(path)


def test_the_forged_state_of_an_array_type_is_not_believed(tmp_path: Path) -> None:
    """numpy takes flags from a dtype's state; with these, it would follow the numbers as pointers."""
    honest = pickle.dumps(np.frombuffer(b"\1" * 64, np.uint8), 2)
    state = next(pos for op, _, pos in pickletools.genops(honest) if op.name == "BININT" and pos)
    assert state
    forged = honest.replace(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t", b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft")
    assert forged != honest
    path = tmp_path / "patch.pkl"
    path.write_bytes(forged)
    np.testing.assert_array_equal(read_pickle(path), np.full(64, 1, np.uint8))


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps(np.zeros(1000))[:500]])
def test_damaged_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "patch.pkl"
    path.write_bytes(content)
    with pytest.raises(UnreadableDatasetError, match="damaged"):
        read_pickle(path)


def _doubled(opcode: bytes, start: bytes, depth: int) -> bytes:
    """A container that holds itself of the step before twice, `depth` times over: a few bytes a step."""
    steps = b"".join(
        b"r" + struct.pack("<I", i) + b"0(" + 2 * (b"j" + struct.pack("<I", i)) + opcode for i in range(depth)
    )
    return b"\x80\x02" + start + steps


@pytest.mark.parametrize("kind", ["lists", "tuples as keys"])
def test_what_stands_in_two_places_is_not_made_twice(tmp_path: Path, kind: str) -> None:
    """Unfolded, twenty-five steps are 33 million values."""
    lists, tuples = _doubled(b"l", b"]", 25) + b".", b"\x80\x02}" + _doubled(b"t", b")", 25)[2:] + b"K\x01s."
    path = tmp_path / "patch.pkl"
    path.write_bytes(lists if kind == "lists" else tuples)
    tracemalloc.start()
    try:
        if kind == "lists":
            found: Any = read_pickle(path)
            assert found[0] is found[1]
        else:
            with pytest.raises(UnreadableDatasetError, match="a tuple of more than"):
                read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x80\x02]r\xff\xff\xff\xff.", "a place in memory"),
        (b"\x80\x02]p99999999999999\n.", "a place in memory"),
        (b"\x80\x02" + b"]" * 200_000 + b"0" * 199_999 + b".", "steps"),
        (b"\x80\x02)" + b"\x85" * 50_000 + b".", "tuple"),
        (b"\x80\x02" + b"]" * 60 + b"a" * 59 + b".", "deep"),
        (b"\x80\x02]q\x00h\x00a.", "deep"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"few.", "damaged"),
        (
            b"\x80\x02" + b"(" + b"K\x01" * 40_000 + b"lq\x000" + b"]" + 4 * b"c__builtin__\nset\nh\x00\x85Ra" + b".",
            "values",
        ),
    ],
    ids=["index", "decimal index", "steps", "deep tuple", "deep list", "itself", "length", "sets"],
)
def test_a_pickle_that_asks_for_more_than_a_patch_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "patch.pkl"
    path.write_bytes(content)
    with pytest.raises(UnreadableDatasetError, match=says):
        read_pickle(path)
