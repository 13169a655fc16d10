"""Files are whole or not there, and a full disk is said."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from haiku_edge.runtime.atomic import atomic_open, atomic_write, check_new_file, replace_folder
from haiku_edge.runtime.errors import DiskFullError, OutputExistsError, OutputNotWritableError
from tests.conftest import largest_file


def test_a_written_file_holds_the_bytes_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.bin", b"abc")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"abc"}


def test_a_file_without_room_is_said_and_the_older_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    with largest_file(1000), pytest.raises(DiskFullError, match=r"no room to write .*a\.bin"):
        atomic_write(path, b"x" * 100_000)
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {"a.bin": b"older"}


def test_a_failure_while_writing_leaves_the_older_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError, match="stopped"), atomic_open(path) as stream:
        stream.write(b"half")
        raise RuntimeError("stopped")
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {"a.bin": b"older"}


def test_a_folder_that_is_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputNotWritableError, match="can't be written"):
        atomic_write(tmp_path / "file" / "a.bin", b"abc")


def test_a_missing_folder_is_not_writable(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritableError, match="No such file"):
        atomic_write(tmp_path / "absent" / "a.bin", b"abc")


def test_a_reader_never_sees_half_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = [bytes([value]) * 200_000 for value in (1, 2)]
    atomic_write(path, contents[0])
    writer = threading.Thread(target=lambda: [atomic_write(path, contents[turn % 2]) for turn in range(30)])
    writer.start()
    while writer.is_alive():
        assert path.read_bytes() in contents
    writer.join()


def test_a_file_is_replaced_only_when_asked_and_a_folder_never(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    check_new_file(path, force=False)
    path.write_bytes(b"older")
    with pytest.raises(OutputExistsError, match=r"a\.bin is there already\. Pass --force"):
        check_new_file(path, force=False)
    check_new_file(path, force=True)
    for force in (False, True):
        with pytest.raises(OutputExistsError, match="is a folder"):
            check_new_file(tmp_path, force=force)
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {"a.bin": b"older"}


def test_a_file_that_could_not_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    for place in (tmp_path / "not there" / "a.bin", Path("/proc/a.bin")):
        with pytest.raises(OutputNotWritableError):
            check_new_file(place, force=False)


def test_a_folder_replaces_another_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["old", "old/new"]
