"""What can't be read, or is no folder of one slide, is refused by its name before a part of a slide is taken for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from haiku_edge.runtime.errors import NotASlideError
from haiku_edge.runtime.slide import folder as module
from haiku_edge.runtime.slide import open_slide

from .written_dicom import picture, write_slide

_NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder of a user without privileges, whom the test becomes: root reads what no one may."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no permission bits")
    privileged = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        if privileged:
            os.chown(folder, _NOBODY, _NOBODY)
            os.seteuid(_NOBODY)
        try:
            yield Path(folder)
        finally:
            if privileged:
                os.seteuid(0)


@pytest.mark.parametrize("mode", [0o300, 0o100])
def test_a_slide_whose_folder_cant_be_listed_is_refused(place: Path, mode: int) -> None:
    path = write_slide(place / "case/s.dcm", picture())
    path.parent.chmod(mode)
    with pytest.raises(NotASlideError, match=r"folder of s\.dcm can't be listed \(permission denied\)"):
        open_slide(path)


def test_a_file_beside_the_slide_that_cant_be_read_is_named(place: Path) -> None:
    path = write_slide(place / "case/s.dcm", picture())
    (place / "case/private.txt").touch(0o000)
    for given in (path, path.parent):
        with pytest.raises(NotASlideError, match=r"^private\.txt, .* can't be read \(permission denied\)") as caught:
            open_slide(given)
        assert str(place) not in str(caught.value)


def test_a_folder_within_that_cant_be_listed_may_hold_the_finest_instance(place: Path) -> None:
    write_slide(place / "case/s.dcm", picture())
    (place / "case/more").mkdir(0o000)
    with pytest.raises(NotASlideError, match=r"folder of case can't be listed \(permission denied\)"):
        open_slide(place / "case")


def test_what_may_not_be_read_is_said_to_be_there(place: Path) -> None:
    for name in ("s.dcm", "s.svs"):
        (place / name).write_bytes(b"something")
        (place / name).chmod(0)
        with pytest.raises(NotASlideError, match=rf"{name} can't be read \(permission denied\)"):
            open_slide(place / name)
    (place / "closed").mkdir(0o000)
    with pytest.raises(NotASlideError, match=r"closed can't be listed \(permission denied\)"):
        open_slide(place / "closed")
    with pytest.raises(NotASlideError, match=r"s\.svs can't be read \(permission denied\)"):
        open_slide(place / "closed/s.svs")


@pytest.mark.parametrize("name", ["missing.svs", "missing/s.svs", "file/s.svs", "dangling"])
def test_what_is_not_there_is_said_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotASlideError, match=f"^{Path(name).name} is not there"):
        open_slide(tmp_path / name)


@pytest.mark.parametrize("spread", [1, 7])
def test_a_disk_is_refused_before_a_file_of_it_is_opened(
    place: Path, monkeypatch: pytest.MonkeyPatch, spread: int
) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 100)
    # To open the one or to list the other would be another error.
    (place / "first").touch(0o000)
    (place / "closed").mkdir(0o000)
    (place / "link").symlink_to(place / "closed/within")
    for number in range(101):
        (place / f"{number % spread}").mkdir(exist_ok=True)
        (place / f"{number % spread}/{number}.dcm").touch()
    with pytest.raises(NotASlideError, match="more than 100 files and folders"):
        open_slide(place)


def test_folders_nest_as_deep_as_media_do_and_no_deeper(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "1/2/3/4/5/6/7/8/s.dcm", picture())
    open_slide(tmp_path).close()
    (path.parent / "9").mkdir()
    with pytest.raises(NotASlideError, match="more than 8 deep"):
        open_slide(tmp_path)


def test_links_that_lead_nowhere_or_round_are_passed_over(tmp_path: Path) -> None:
    write_slide(tmp_path / "s.dcm", picture())
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "above").symlink_to(tmp_path, target_is_directory=True)
    open_slide(tmp_path).close()
