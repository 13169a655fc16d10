"""One run at a time writes into a folder, and what it finished is never replaced unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from haiku_edge.runtime.atomic import check_writable
from haiku_edge.runtime.errors import OutputExistsError, OutputNotWritableError
from haiku_edge.runtime.inference.folder import output_folder


def test_two_runs_on_one_output_exclude_each_other(tmp_path: Path) -> None:
    with output_folder(tmp_path, "slide", force=True):
        with pytest.raises(OutputExistsError, match="Another run"), output_folder(tmp_path, "slide", force=True):
            pass
        with pytest.raises(OutputExistsError), output_folder(tmp_path, "slide", force=True):
            pytest.fail("a refused run took the lock of the run that holds it")
        with output_folder(tmp_path, "another slide", force=True):
            pass


def test_a_finished_result_is_kept_without_force(tmp_path: Path) -> None:
    (tmp_path / "slide").mkdir()
    (tmp_path / "slide" / "result.json").touch()
    with pytest.raises(OutputExistsError, match="--force"), output_folder(tmp_path, "slide", force=False):
        pass
    with output_folder(tmp_path, "slide", force=True) as folder:
        assert folder == tmp_path / "slide"


def test_a_run_that_ends_well_leaves_nothing_unfinished_and_one_that_fails_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path, "slide", force=False) as folder:
        (folder / ".unfinished-1").mkdir()
        raise ZeroDivisionError
    assert [path.name for path in folder.iterdir()] == [".unfinished-1"]
    with output_folder(tmp_path, "slide", force=False) as folder:
        pass
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["../../etc", "a/b", "...", "", "\n"])
def test_a_slide_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with output_folder(tmp_path, name, force=False) as folder:
        assert folder.resolve().parent == tmp_path.resolve()


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (Path("/proc/results"), file / "results", tmp_path / ("x" * 300)):
        with pytest.raises(OutputNotWritableError):
            check_writable(place)
    check_writable(tmp_path / "not" / "there" / "yet")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
